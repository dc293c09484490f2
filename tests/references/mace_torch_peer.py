"""mace-torch models with reproducible weights, and what they predict: the source of the references.

``python tests/references/mace_torch_peer.py`` writes ``mace_torch.json`` (needs mace-torch 0.3.x).
Weights are not stored: both sides draw them from the tensor's name, so the file stays small.
"""

import json
import platform
import zlib
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal

ELEMENTS = (24, 51, 52)
TEN_ELEMENTS = (1, 3, 8, 13, 14, 22, 24, 51, 52, 79)
CASES = {
    # The three sizes of MACE-MP-0 (arXiv:2401.00096), then settings that nobody publishes.
    "small": {"hidden_irreps": "128x0e"},
    "medium": {"hidden_irreps": "128x0e + 128x1o"},
    "large": {"hidden_irreps": "128x0e + 128x1o + 128x2e"},
    "three_layers": {
        "hidden_irreps": "16x0e + 16x1o + 16x2e",
        "max_ell": 2,
        "correlation": 2,
        "num_interactions": 3,
        "num_bessel": 6,
        "num_polynomial_cutoff": 6,
        "radial_mlp": [32, 16],
        "mlp_irreps": "8x0e",
        "r_max": 4.5,
    },
    "both_parities": {
        "hidden_irreps": "8x0e + 8x0o + 8x1o + 8x1e",
        "max_ell": 2,
        "num_bessel": 8,
        "r_max": 5.0,
    },
    "ten_elements": {"hidden_irreps": "12x0e + 12x1o", "radial_mlp": [24, 24], "r_max": 4.0},
    "one_layer": {"hidden_irreps": "10x0e", "correlation": 1, "num_interactions": 1, "r_max": 5.0},
}
DEFAULTS = {
    "r_max": 6.0,
    "num_bessel": 10,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "correlation": 3,
    "num_interactions": 2,
    "mlp_irreps": "16x0e",
    "radial_mlp": [64, 64, 64],
}
AVERAGE_NEIGHBORS = 25.0
REFERENCE = Path(__file__).with_name("mace_torch.json")


def elements_of(case: str) -> tuple[int, ...]:
    """Atomic numbers a case is built for."""
    return TEN_ELEMENTS if case == "ten_elements" else ELEMENTS


def structures() -> dict[str, Atoms]:
    """Cells that are thin, skewed, open in one or all directions, and a lone atom."""
    sb2te3 = crystal(
        ["Sb", "Te", "Te"],
        [(0, 0, 0.3988), (0, 0, 0), (0, 0, 0.2128)],
        spacegroup=166,
        cellpar=[4.264, 4.264, 30.458, 90, 90, 120],
    )
    thin = sb2te3 + Atoms("Cr", positions=[[0.1, 0.2, 15.2]])
    thin.rattle(0.08, seed=1)
    skewed = Atoms(
        "CrSbTe",
        scaled_positions=[[0, 0, 0], [0.4, 0.5, 0.6], [0.8, 0.1, 0.3]],
        cell=[[4.1, 0.3, -0.2], [1.9, 3.8, 0.4], [-1.2, 1.4, 4.4]],
        pbc=True,
    )
    slab = Atoms(
        "Te2SbCr",
        positions=[[0.1, 0, 0], [0.5, 2.4, 1.9], [2.2, 0.4, 2.7], [2, 2, 0.1]],
        cell=[[4.3, 0, 0], [-2.1, 3.7, 0], [0, 0, 20]],
        pbc=[True, True, False],
    )
    cluster = Atoms("CrTeSb", positions=[[0, 0, 0], [2.6, 0.1, -0.2], [1.1, 2.5, 0.6]])
    return {"thin": thin, "skewed": skewed, "slab": slab, "cluster": cluster, "atom": Atoms("Te")}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers that depend on a tensor's name only; float64."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)


def constants(elements: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Tensors that are not random."""
    return {
        "atomic_energies_fn.atomic_energies": -np.linspace(5.1, 2.9, len(elements)),
        "scale_shift.scale": np.array(0.8),
        "scale_shift.shift": np.array(0.16),
    }


def spread(name: str, shape: tuple[int, ...]) -> float:
    """Factor on ``draw``: mace-torch divides the weights of the product basis by their number."""
    return 1 / shape[1] if "symmetric_contractions" in name else 1.0


def torch_model(case: str):
    """The mace-torch model of a case, float64, with drawn weights."""
    import torch
    from mace import modules  # isort: skip  (it prepares torch.load for e3nn)
    from e3nn import o3  # isort: skip

    torch.set_default_dtype(torch.float64)
    settings, elements = DEFAULTS | CASES[case], elements_of(case)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=settings["r_max"],
        num_bessel=settings["num_bessel"],
        num_polynomial_cutoff=settings["num_polynomial_cutoff"],
        max_ell=settings["max_ell"],
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=settings["num_interactions"],
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(settings["hidden_irreps"]),
        MLP_irreps=o3.Irreps(settings["mlp_irreps"]),
        radial_MLP=list(settings["radial_mlp"]),
        atomic_energies=constants(elements)["atomic_energies_fn.atomic_energies"],
        avg_num_neighbors=AVERAGE_NEIGHBORS,
        atomic_numbers=list(elements),
        correlation=settings["correlation"],
        gate=torch.nn.functional.silu,
        use_reduced_cg=False,
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.16,
    )
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.numel() and tensor.requires_grad:
                shape = tuple(tensor.shape)
                tensor.copy_(torch.as_tensor(draw(name, shape) * spread(name, shape)))
    return model


def torch_predictions(model, dtype: str = "float64") -> dict[str, dict]:
    """Energy, forces and stress of every structure, through mace-torch's own calculator."""
    import torch
    from mace.calculators import MACECalculator

    torch.set_default_dtype(getattr(torch, dtype))
    calculator = MACECalculator(
        models=[model.to(getattr(torch, dtype))], device="cpu", default_dtype=dtype
    )
    results = {}
    for name, atoms in structures().items():
        atoms.calc = calculator
        results[name] = {
            "energy": float(atoms.get_potential_energy()),
            "forces": np.asarray(atoms.get_forces(), float).tolist(),
        }
        if atoms.pbc.all():
            results[name]["stress"] = np.asarray(atoms.get_stress(voigt=False), float).tolist()
    return results


def main() -> None:
    """Write the reference file."""
    import mace
    import torch

    predictions = {case: torch_predictions(torch_model(case)) for case in CASES}
    provenance = {
        "program": f"mace-torch {mace.__version__}, torch {torch.__version__}",
        "python": platform.python_version(),
        "command": "python tests/references/mace_torch_peer.py",
        "units": "eV, eV/Å, eV/Å^3 (ASE sign); total energies, float64",
    }
    REFERENCE.write_text(json.dumps({"provenance": provenance, "predictions": predictions}))


if __name__ == "__main__":
    main()
