"""Every kind of MACE that mace-torch makes, with drawn weights, and what it predicts.

``PYTHONPATH=tests python tests/references/mace_variants.py`` writes ``mace_variants.json`` and
``mace_variants.tar.xz`` beside it. It needs mace-torch 0.3.x, and cuequivariance for the reduced
basis. The archive holds the model files of ``RECORDED`` without compiled code and traced source,
which importing ignores and which would be nearly all of it.
"""

import io
import json
import lzma
import platform
import tarfile
from pathlib import Path

import numpy as np
from ase import Atoms
from references import mace_torch_peer as peer

SMALL = {
    "hidden_irreps": "4x0e + 4x1o",
    "r_max": 4.0,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "correlation": 2,
    "num_interactions": 2,
    "mlp_irreps": "3x0e",
    "radial_mlp": [5],
}
GATED = "RealAgnosticResidualNonLinear"
HEADS = ["pbe", "Default", "r2scan"]
MH = {
    "interaction": GATED,
    "apply_cutoff": False,
    "edge_irreps": "3x0e + 3x1o + 3x2e",
    "use_edge_irreps_first": True,
    "use_agnostic_product": True,
    "use_last_readout_only": True,
    "readout": "NonLinearBias",
    "heads": HEADS,
}
DENSITY = {
    "interaction_first": "RealAgnosticDensity",
    "interaction": "RealAgnosticDensityResidual",
    "distance_transform": "Agnesi",
    "pair_repulsion": True,
    "num_polynomial_cutoff": 6,
}
VARIANTS = {
    # Published generations, small.
    "mp_0": {"correlation": 3},
    "mp_0b": {"distance_transform": "Agnesi", "pair_repulsion": True},
    "mp_0b2": DENSITY,
    "mpa_0": DENSITY | {"correlation": 3, "heads": ["default"]},
    "matpes_0": DENSITY | {"heads": ["pt_head", "default"]},
    "off_23": {"hidden_irreps": "4x0e + 4x1o + 4x2e", "elements": [1, 6, 8], "r_max": 4.5},
    "mh_1": MH,
    "mh_1_gate": MH | {"old_gate": True},
    # What else mace-torch trains.
    "mace": {"class": "MACE", "interaction_first": "RealAgnostic", "pair_repulsion": True},
    "mace_heads": {"class": "MACE", "heads": HEADS},
    "agnostic": {"interaction": "RealAgnostic", "correlation": 3},
    "density": {"interaction": "RealAgnosticDensity", "apply_cutoff": False},
    "density_residual": {"interaction": "RealAgnosticDensityResidual", "num_polynomial_cutoff": 8},
    "residual_late_cutoff": {"apply_cutoff": False, "radial_type": "gaussian"},
    "gated": {"interaction": GATED, "correlation": 3},
    "gated_after_residual": {
        "interaction_first": "RealAgnosticResidual",
        "interaction": GATED,
        "edge_irreps": "2x0e + 3x1o + 5x2e + 1x3o",
        "max_ell": 3,
        "distance_transform": "Soft",
        "num_interactions": 3,
    },
    "edge_irreps": {"edge_irreps": "5x0e + 2x1o", "use_edge_irreps_first": True},
    "soft": {"distance_transform": "Soft"},
    "gaussian": {"radial_type": "gaussian", "distance_transform": "Agnesi"},
    "chebyshev": {"radial_type": "chebyshev", "distance_transform": "Agnesi"},
    "so3": {"use_so3": True, "hidden_irreps": "4x0e + 4x1e", "correlation": 3},
    "heads": {"heads": HEADS},
    "last_readout_only": {"use_last_readout_only": True},
    "bias_readout": {"readout": "NonLinearBias", "heads": HEADS},
    "agnostic_product": {"use_agnostic_product": True},
    "reduced": {
        "use_reduced_cg": True,
        "hidden_irreps": "3x0e + 3x1o + 3x2e",
        "correlation": 3,
    },
    "reduced_gated": MH | {"use_reduced_cg": True, "correlation": 3},
    "one_layer": {"num_interactions": 1, "correlation": 1, "hidden_irreps": "4x0e"},
    "many_elements": MH | {"elements": [1, 6, 7, 8, 14, 22, 24, 26, 51, 52], "heads": None},
    "many_elements_density": DENSITY | {"elements": [1, 6, 7, 8, 14, 22, 24, 26, 51, 52]},
}
RECORDED = (
    "mp_0b", "mp_0b2", "matpes_0", "off_23", "mh_1", "mh_1_gate", "mace", "agnostic", "density",
    "gated_after_residual", "soft", "gaussian", "chebyshev", "so3", "bias_readout", "reduced",
)  # fmt: skip
HERE = Path(__file__).parent
REFERENCE, PACKED = HERE / "mace_variants.json", HERE / "mace_variants.tar.xz"


def settings_of(variant: str) -> dict:
    """Everything a variant is made with."""
    return SMALL | {"elements": [24, 51, 52], "heads": None} | VARIANTS[variant]


def structures(variant: str) -> dict[str, Atoms]:
    """A skewed cell thinner than the cutoff, a slab, a cluster with a contact, a lone atom."""
    elements = settings_of(variant)["elements"]
    a, b, c = elements[0], elements[-2], elements[-1]
    skewed = Atoms(
        [a, b, c, c],
        scaled_positions=[[0, 0, 0], [0.4, 0.5, 0.6], [0.8, 0.1, 0.3], [0.1, 0.6, 0.15]],
        cell=[[3.6, 0.3, -0.2], [1.6, 3.4, 0.4], [-1.1, 1.2, 4.2]],
        pbc=True,
    )
    slab = Atoms(
        [c, c, b, a],
        positions=[[0.1, 0, 0], [0.5, 2.4, 1.9], [2.2, 0.4, 2.7], [2, 2, 0.1]],
        cell=[[4.3, 0, 0], [-2.1, 3.7, 0], [0, 0, 20]],
        pbc=[True, True, False],
    )
    contact = Atoms([a, c, b], positions=[[0, 0, 0], [1.1, 0.1, -0.2], [0.9, 1.3, 0.6]])
    return {"skewed": skewed, "slab": slab, "contact": contact, "atom": Atoms([c])}


def torch_model(variant: str):
    """The mace-torch model of a variant, float64, every parameter and constant drawn."""
    import torch
    from mace import modules  # isort: skip  (it prepares torch.load for e3nn)

    torch.set_default_dtype(torch.float64)
    settings = settings_of(variant)
    arguments = _arguments(settings)
    cls = getattr(modules, settings.get("class", "ScaleShiftMACE"))
    if cls is modules.ScaleShiftMACE:
        count = len(settings["heads"] or [0])
        scales, shifts = np.linspace(0.8, 1.3, count), np.linspace(0.16, -0.2, count)
        arguments |= {"atomic_inter_scale": scales, "atomic_inter_shift": shifts}
    model = cls(**arguments)
    if settings.get("old_gate"):
        _use_e3nn_gate(model)
    _draw(model)
    return model


def _arguments(settings: dict) -> dict:
    import torch
    from e3nn import o3
    from mace import modules

    def block(name):
        return modules.interaction_classes[f"{name}InteractionBlock"]

    others = settings.get("interaction", "RealAgnosticResidual")
    elements, heads = settings["elements"], settings["heads"]
    energies = -np.linspace(5.1, 2.9, len(elements))
    if heads:
        energies = energies + 0.1 * np.arange(len(heads))[:, None]
    edge = settings.get("edge_irreps")
    named = {
        name: settings[name]
        for name in ("r_max", "num_bessel", "num_polynomial_cutoff", "max_ell", "num_interactions",
                     "correlation", "pair_repulsion", "apply_cutoff", "use_so3",
                     "use_agnostic_product", "use_last_readout_only", "use_edge_irreps_first",
                     "radial_type", "heads")
        if name in settings
    }  # fmt: skip
    return named | {
        "interaction_cls": block(others),
        "interaction_cls_first": block(settings.get("interaction_first", others)),
        "num_elements": len(elements),
        "hidden_irreps": o3.Irreps(settings["hidden_irreps"]),
        "MLP_irreps": o3.Irreps(settings["mlp_irreps"]),
        "radial_MLP": list(settings["radial_mlp"]),
        "edge_irreps": None if edge is None else o3.Irreps(edge),
        "atomic_energies": energies,
        "avg_num_neighbors": peer.AVERAGE_NEIGHBORS,
        "atomic_numbers": list(elements),
        "gate": torch.nn.functional.silu,
        "use_reduced_cg": settings.get("use_reduced_cg", False),
        "distance_transform": settings.get("distance_transform", "None"),
        "readout_cls": modules.readout_classes[
            f"{settings.get('readout', 'NonLinear')}ReadoutBlock"
        ],
    }


def _use_e3nn_gate(model) -> None:
    """Gates as mace-torch had them before 0.3.15: of e3nn."""
    import torch
    from e3nn import nn

    for block in model.interactions:
        gate = block.equivariant_nonlin
        block.equivariant_nonlin = nn.Gate(
            gate.irreps_scalars,
            [torch.nn.functional.silu] * len(gate.irreps_scalars),
            gate.irreps_gates,
            [torch.nn.functional.sigmoid] * len(gate.irreps_gates),
            gate.irreps_gated,
        )


MEANS = {"alpha": 20.0, "beta": 0.5}
DRAWN_BUFFERS = (
    "bessel_weights", "gaussian_weights", "distance_transform.a", "distance_transform.p",
    "distance_transform.q", "distance_transform.alpha", "pair_repulsion_fn.c",
    "pair_repulsion_fn.a_exp", "pair_repulsion_fn.a_prefactor",
)  # fmt: skip


def _draw(model) -> None:
    """Draw what is trained around its usual size, and move constants by some percent."""
    import torch

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.numel() and tensor.requires_grad:
                shape = tuple(tensor.shape)
                drawn = peer.draw(name, shape) * peer.spread(name, shape)
                last = name.rpartition(".")[2]
                if ".net." in name:  # torch's own linear maps and norms
                    drawn = 0.3 * drawn + (len(shape) == 1 and last == "weight")
                tensor.copy_(torch.as_tensor(MEANS.get(last, 0.0) + drawn))
        for name, tensor in model.named_buffers():
            if name.endswith(DRAWN_BUFFERS):
                tensor *= torch.as_tensor(1 + 0.02 * peer.draw(name, tuple(tensor.shape)))


def predictions(model, variant: str, head: str | None = None, forces: bool = True) -> dict:
    """Energy, forces and stress of every structure, through mace-torch's own calculator."""
    import torch
    from mace.calculators import MACECalculator

    torch.set_default_dtype(torch.float64)
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64", head=head)
    results = {}
    for name, atoms in structures(variant).items():
        if not forces:
            results[name] = {"energy": _energy_only(calculator, atoms)}
            continue
        atoms.calc = calculator
        found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if atoms.pbc.all():
            found["stress"] = atoms.get_stress(voigt=False)
        results[name] = {key: np.asarray(value, float).tolist() for key, value in found.items()}
    return results


def _energy_only(calculator, atoms: Atoms) -> float:
    """Without forces: with Chebyshev polynomials mace-torch's differ from ours by their own size.

    Ours are compared with finite differences of our energies, which equal those of mace-torch.
    """
    batch = calculator._atoms_to_batch(atoms).to_dict()
    return float(calculator.models[0](batch, compute_force=False)["energy"])


def reference(variant: str) -> dict:
    """Predictions of every head, by its name."""
    model, settings = torch_model(variant), settings_of(variant)
    forces = settings.get("radial_type") != "chebyshev"
    return {
        head or "Default": predictions(model, variant, head, forces)
        for head in settings["heads"] or [None]
    }


def without_code(model) -> bytes:
    """A model file whose compiled code and traced source are left out."""
    import torch
    from e3nn.util.codegen import CodeGenMixin

    def state(self):
        kept = self.__dict__.copy()
        kept["_modules"] = {k: v for k, v in self._modules.items() if "_compiled" not in k}
        return kept | {"__codegen__": {}}

    original = CodeGenMixin.__getstate__
    for module in list(model.modules()):
        for name in ("graph_opt_main", "contractions_weighting", "contractions_features"):
            if name in module._modules:
                delattr(module, name)
    try:
        CodeGenMixin.__getstate__ = state
        stream = io.BytesIO()
        torch.save(model, stream)
    finally:
        CodeGenMixin.__getstate__ = original
    return stream.getvalue()


def unpack(folder: Path) -> dict[str, Path]:
    """Write the recorded model files; their paths by variant."""
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(PACKED.read_bytes()))) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from 3.11.4 on
        archive.extractall(folder, **safe)  # pyright: ignore[reportArgumentType]
    return {variant: folder / f"{variant}.model" for variant in RECORDED}


def main() -> None:
    """Write both files."""
    import mace
    import torch

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for variant in RECORDED:
            data = without_code(torch_model(variant))
            member = tarfile.TarInfo(f"{variant}.model")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    PACKED.write_bytes(lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    provenance = {
        "program": f"mace-torch {mace.__version__}, torch {torch.__version__}",
        "python": platform.python_version(),
        "command": "PYTHONPATH=tests python tests/references/mace_variants.py",
        "units": "eV, eV/Å, eV/Å^3 (ASE sign); total energies, float64",
    }
    found = {variant: reference(variant) for variant in RECORDED}
    REFERENCE.write_text(json.dumps({"provenance": provenance, "predictions": found}))


if __name__ == "__main__":
    main()
