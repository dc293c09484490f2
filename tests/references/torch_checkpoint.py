"""A tiny model file as mace-torch writes it, and what mace-torch predicts with it.

``PYTHONPATH=tests python tests/references/torch_checkpoint.py`` writes the two files beside it
(needs mace-torch 0.3.x). Most bytes of the packed file are compiled code that importing ignores.
"""

import json
import lzma
import platform
from pathlib import Path

from references import mace_torch_peer as peer

SETTINGS = {
    "hidden_irreps": "4x0e + 4x1o",
    "r_max": 4.0,
    "num_bessel": 4,
    "max_ell": 2,
    "correlation": 3,
    "mlp_irreps": "4x0e",
    "radial_mlp": [4],
}
PACKED = Path(__file__).with_suffix(".model.xz")
REFERENCE = Path(__file__).with_suffix(".json")


def unpack(path: Path) -> Path:
    """Write the model file; returns its path."""
    path.write_bytes(lzma.decompress(PACKED.read_bytes()))
    return path


def predictions() -> dict[str, dict]:
    """Energy, forces and stress of every structure of the peer; eV and Å."""
    return json.loads(REFERENCE.read_text())["predictions"]


def main() -> None:
    """Write both files."""
    import mace
    import torch

    peer.CASES["checkpoint"] = SETTINGS
    model = peer.torch_model("checkpoint")
    # mace-torch's training program stores these with a leading axis of heads.
    energies = model.atomic_energies_fn
    energies.atomic_energies = energies.atomic_energies.reshape(1, -1)
    model.scale_shift.scale = model.scale_shift.scale.reshape(1)
    model.scale_shift.shift = model.scale_shift.shift.reshape(1)
    path = PACKED.with_suffix("")
    torch.save(model, path)
    PACKED.write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    path.unlink()
    provenance = {
        "program": f"mace-torch {mace.__version__}, torch {torch.__version__}",
        "python": platform.python_version(),
        "command": "PYTHONPATH=tests python tests/references/torch_checkpoint.py",
        "units": "eV, eV/Å, eV/Å^3 (ASE sign); total energies, float64",
        "model": SETTINGS,
    }
    found = {"provenance": provenance, "predictions": peer.torch_predictions(model)}
    REFERENCE.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
