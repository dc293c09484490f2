"""mace-torch as a side of the benchmark, eager or as TorchScript; also draws the shared weights."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import crystals
import numpy as np
from measuring import Work, serve

Case = Mapping[str, Any]
MODE = "script" if "--script" in sys.argv else "eager"
LEARNING_RATE, CLIP, DECAY = 0.01, 10.0, 0.99


def torch_model(architecture: str, dtype: str, weights: str | None = None) -> Any:
    """A MACE of ``crystals``; with random weights if there is no file of them."""
    import torch
    from mace import modules  # isort: skip  (it prepares torch.load for e3nn)
    from e3nn import o3  # isort: skip

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    sizes = crystals.ARCHITECTURES[architecture]
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=sizes.r_max,
        num_bessel=sizes.num_bessel,
        num_polynomial_cutoff=5,
        max_ell=sizes.max_ell,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(crystals.ELEMENTS),
        hidden_irreps=o3.Irreps(sizes.hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.array(crystals.REFERENCE_ENERGIES),
        avg_num_neighbors=crystals.AVERAGE_NEIGHBORS,
        atomic_numbers=list(crystals.ELEMENTS),
        correlation=sizes.correlation,
        gate=torch.nn.functional.silu,
        radial_MLP=list(sizes.radial),
        use_reduced_cg=False,
        atomic_inter_scale=crystals.SCALE,
        atomic_inter_shift=crystals.SHIFT,
    )
    if weights is not None and Path(weights).exists():
        with np.load(weights) as arrays:
            state = {name: torch.as_tensor(array) for name, array in arrays.items()}
        model.load_state_dict(state)  # copied into the tensors of the model, in their precision
    return model


def model_of(case: Case, weights: str) -> Any:
    """The model of a case in the mode of this side."""
    model = torch_model(case["architecture"], case["dtype"], weights)
    if MODE == "script":
        from e3nn.util import jit

        return jit.compile(model.eval())
    return model


def write_weights(architecture: str, target: Path) -> None:
    """Draw weights in float64 and write them with mace-torch's names, for all sides."""
    model = torch_model(architecture, "float64")
    arrays = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    np.savez(target, **arrays)  # pyright: ignore[reportArgumentType]


def dataset(structures: list[Any], architecture: str, dtype: str) -> list[Any]:
    """Structures as mace-torch's data loader takes them."""
    import torch
    from mace import data
    from mace.data.utils import KeySpecification, config_from_atoms
    from mace.tools import AtomicNumberTable

    torch.set_default_dtype(getattr(torch, dtype))
    names = {"energy": "REF_energy"}, {"forces": "REF_forces"}
    keys = KeySpecification(info_keys=names[0], arrays_keys=names[1])
    numbers, cutoff = (
        AtomicNumberTable(list(crystals.ELEMENTS)),
        crystals.ARCHITECTURES[architecture].r_max,
    )
    return [
        data.AtomicData.from_config(
            config_from_atoms(atoms, key_specification=keys), z_table=numbers, cutoff=cutoff
        )
        for atoms in structures
    ]


def loader(graphs: list[Any], batch: int) -> Any:
    """Batches of graphs in their order."""
    from mace.tools import torch_geometric

    return torch_geometric.dataloader.DataLoader(graphs, batch_size=batch, shuffle=False)


def torch_batch(structures: list[Any], architecture: str, dtype: str) -> Any:
    """All structures in one batch."""
    return next(iter(loader(dataset(structures, architecture, dtype), len(structures))))


def energy_forces(case: Case, weights: str) -> Work:
    """Energy and forces of one structure, the neighbour list at hand."""
    model = model_of(case, weights)
    structure = crystals.cell_with_chromium(case["atoms"])
    batch = torch_batch([structure], case["architecture"], case["dtype"])

    def call() -> Any:
        return model(batch.to_dict(), compute_force=True, compute_stress=False)

    return Work(call, answer=lambda: told(call()))


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    """Energies and forces as lists."""
    return {
        "energy": found["energy"].detach().tolist(),
        "forces": found["forces"].detach().tolist(),
    }


def hvp(case: Case, weights: str) -> Work:
    """Hessian times a direction: the gradient of forces along it."""
    import torch

    model = model_of(case, weights)
    structure = crystals.cell_with_chromium(case["atoms"])
    batch = torch_batch([structure], case["architecture"], case["dtype"])
    shape = (case["atoms"], 3)
    direction = torch.as_tensor(np.random.default_rng(0).normal(size=shape).astype(case["dtype"]))

    def call() -> Any:
        data = batch.to_dict()
        forces = model(data, training=True, compute_force=True, compute_stress=False)["forces"]
        return -torch.autograd.grad((forces * direction).sum(), data["positions"])[0]

    return Work(call, answer=lambda: {"energy": [], "forces": call().tolist()})


def band(case: Case, weights: str, paths: int = 1) -> Work:
    """Images one by one through the calculator, as a band of ASE does it."""
    calculator = calculator_of(case, weights)
    images = [image for seed in range(paths) for image in crystals.band(case["atoms"], seed=seed)]

    def call() -> Any:
        found = []
        for atoms in images:
            calculator.calculate(atoms, properties=["energy", "forces"])
            found.append((calculator.results["energy"], calculator.results["forces"]))
        return found

    def answer() -> dict[str, Any]:
        energies, forces = zip(*call()[:9], strict=True)
        return {
            "energy": [float(energy) for energy in energies],
            "forces": np.concatenate(forces).tolist(),
        }

    return Work(call, units=paths, answer=answer)


def paths(case: Case, weights: str) -> Work:
    """Two paths; the unit is one."""
    return band(case, weights, 2)


def calculator_of(case: Case, weights: str) -> Any:
    """mace-torch's calculator of ASE."""
    from mace.calculators import MACECalculator

    return MACECalculator(
        models=[model_of(case, weights)], device="cpu", default_dtype=case["dtype"]
    )


def md(case: Case, weights: str) -> Work:
    """Steps of ASE's velocity Verlet."""
    from ase import units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    atoms, steps = crystals.cell_with_chromium(case["atoms"]), 5
    atoms.calc = calculator_of(case, weights)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    return Work(lambda: dynamics.run(steps), units=steps)


class Trainer:
    """A model in training with AMSGrad, clipping and averaged weights."""

    def __init__(self, case: Case, weights: str) -> None:
        import torch
        from mace import modules
        from torch_ema import ExponentialMovingAverage

        self.model = torch_model(case["architecture"], case["dtype"], weights)
        self.model.train()
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, amsgrad=True)
        self.average = ExponentialMovingAverage(self.model.parameters(), decay=DECAY)
        self.loss = modules.WeightedEnergyForcesLoss(energy_weight=1.0, forces_weight=100.0)
        self.outputs = {"forces": True, "virials": False, "stress": False}
        self.device = torch.device("cpu")

    def step(self, batch: Any) -> None:
        """One optimizer step."""
        from mace.tools.train import take_step

        take_step(
            model=self.model,
            loss_fn=self.loss,
            batch=batch,
            optimizer=self.optimizer,
            ema=self.average,
            max_grad_norm=CLIP,
            device=self.device,
            output_args=self.outputs,
        )

    def validate(self, batches: Any) -> None:
        """Errors of the averaged weights."""
        from mace.tools.train import evaluate

        with self.average.average_parameters():
            evaluate(self.model, self.loss, batches, self.outputs, self.device)


def training(case: Case, weights: str) -> Work:
    """A batch of four: loss of energies and forces, gradient, clipping, AMSGrad, average."""
    trainer = Trainer(case, weights)
    batch = torch_batch(crystals.labelled(61, 4), case["architecture"], case["dtype"])
    return Work(lambda: trainer.step(batch))


def epoch(case: Case, weights: str) -> Work:
    """From 32 frames to weights validated on 4 frames: lists, 8 steps, two validations."""
    trainer, frames = Trainer(case, weights), crystals.labelled(61, 36)

    def call() -> None:
        graphs = dataset(frames, case["architecture"], case["dtype"])
        held = loader(graphs[:4], 4)
        trainer.validate(held)
        for batch in loader(graphs[4:], 4):
            trainer.step(batch)
        trainer.validate(held)

    return Work(call)


WORKS = {
    "energy_forces": energy_forces,
    "md": md,
    "band": band,
    "paths": paths,
    "training": training,
    "epoch": epoch,
    "hvp": hvp,
}

if __name__ == "__main__":
    import os
    import warnings

    import mace
    import torch

    warnings.filterwarnings("ignore")
    if "--weights" in sys.argv:
        architecture, file = sys.argv[sys.argv.index("--weights") + 1 :][:2]
        write_weights(architecture, Path(file))
    else:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        offered = WORKS if MODE == "eager" else {"energy_forces": energy_forces, "md": md}
        serve(offered, {"mace-torch": mace.__version__, "torch": torch.__version__, "mode": MODE})
