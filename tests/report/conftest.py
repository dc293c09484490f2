"""A study as it lies on disk, made of invented numbers with the writers of the study layer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlffjax.study.records import (
    ProbeInfo,
    ProbeRecord,
    RunInfo,
    StudyInfo,
    write_arrays,
    write_json,
)

EVIL = "</script><img src=x onerror=alert(1)>"
EVIL_ID = "evil-s0-0000000000ff"
CANDIDATES = {"scratch": (0,), "foundation": (0,), "FT-600K": (0, 1, 2), "FT-MultiT": (0,)}
ERRORS_EV = {"scratch": 4.1, "foundation": 0.7, "FT-600K": 0.16, "FT-MultiT": 0.31, EVIL: -0.2}
RMSE_EV = {"scratch": 0.0752, "foundation": 0.21, "FT-600K": 0.0372, "FT-MultiT": 0.0455}
PROBES = {
    "held-out": ("accuracy", {}),
    "in-gap": ("fixed_path", {"path": "in_gap"}),
    "deep": ("fixed_path", {"path": "deep"}),
    "slide": ("sliding", {"path": "slide", "closure_tolerance": 1e-6}),
    "slide-doped": ("sliding", {"path": "slide_doped", "closure_tolerance": 1e-6}),
}


@pytest.fixture
def hostile() -> str:
    """A name that tries to become markup."""
    return EVIL


@pytest.fixture
def candidates() -> dict[str, tuple[int, ...]]:
    """Name to seeds: the paper's four and one with a hostile name."""
    return {**CANDIDATES, EVIL: (0,)}


@pytest.fixture
def study(tmp_path, candidates) -> Path:
    """Output directory of a study that finished, with one failed run and one unlabelled path."""
    write_study(tmp_path, candidates, probes=PROBES)
    return tmp_path


@pytest.fixture
def make_study(tmp_path):
    """Write another study: ``make_study({name: seeds}, probes)`` returns its directory."""

    def make(candidates: dict[str, tuple[int, ...]], probes=PROBES) -> Path:
        write_study(tmp_path / "other", candidates, probes=probes)
        return tmp_path / "other"

    return make


def write_study(out: Path, candidates: dict[str, tuple[int, ...]], *, probes: dict) -> None:
    """All files of a study; the last run has failed."""
    runs = [(name, seed) for name, seeds in candidates.items() for seed in seeds]
    runs.append(("FT-600K", 9))
    identifiers = [_identifier(name, seed) for name, seed in runs]
    sections = [{"name": n, "kind": kind, **config} for n, (kind, config) in probes.items()]
    info = StudyInfo(
        name="quickstart",
        config={
            "name": "quickstart",
            "runs": [{"name": n, "seeds": list(s)} for n, s in candidates.items()],
            "probes": sections,
            "comment": EVIL,
        },
        fingerprint="0123456789ab",
        data={
            "digest": "ab12cd34ef56",
            "reference": "GPAW 22.8.0, PBE, 300 eV",
            "functional": "PBE",
            "dispersion": None,
            "frames": 64,
            "config_types": {"md_doped_600K": 40, "md_doped_300K": 24},
        },
        runs=tuple(identifiers),
        versions={"mlffjax": "0.1.0", "jax": "0.10.1"},
        device="cpu",
        started="2026-01-02T03:04:05+00:00",
        warnings=("isolated atoms were computed without spin-orbit coupling",),
    )
    write_json(out / "study.json", info)
    for place, (name, seed) in enumerate(runs):
        _write_run(out / "runs" / identifiers[place], name, seed, place, probes)


def _identifier(name: str, seed: int) -> str:
    return EVIL_ID if name == EVIL else f"{name}-s{seed}-{abs(seed):012x}"


def _write_run(folder: Path, name: str, seed: int, place: int, probes: dict) -> None:
    failed = seed == 9
    rng = np.random.default_rng(place)
    trained = name != "foundation" and not failed
    epochs = 40 + 10 * seed if trained else 0
    info = RunInfo(
        id=folder.name,
        name=name,
        strategy={"foundation": "zero_shot", "scratch": "scratch"}.get(name, "finetune"),
        seed=seed,
        fingerprint=f"{place:012x}",
        status="diverged" if failed else "ok",
        message="the loss is not finite in epoch 3; lower the learning rate" if failed else "",
        frames={"train": 40, "validation": 6, "test": 12},
        parameters=48231,
        epochs=epochs,
        steps=10 * epochs,
        seconds=12.5 * (seed + 1),
        notes=("reference energies by least squares on the training set",),
    )
    if trained:
        decay = np.exp(-np.arange(epochs) / 12.0)
        history = {
            "epoch": list(range(1, epochs + 1)),
            "train_loss": [None if i == 5 else float(2.0 * v + 0.01) for i, v in enumerate(decay)],
            "validation_force_mae": (0.4 * decay + 0.03 * rng.uniform(1, 1.1, epochs)).tolist(),
        }
        write_json(folder / "history.json", history)
    if not failed:
        for probe, (kind, config) in probes.items():
            metrics: dict[str, Any]
            metrics, reasons, arrays = _MAKERS[kind](name, seed, probe, rng)
            write_arrays(folder / "records" / f"{probe}.npz", arrays)
            record = ProbeRecord(
                run=folder.name,
                probe=ProbeInfo(kind=kind, name=probe, config=config),
                fingerprint="00000000feed",
                status="ok",
                metrics=metrics,
                reasons=reasons,
                foreseen=tuple(sorted(reasons)),
                arrays=f"{probe}.npz",
                seconds=0.7,
                device="cpu",
                warnings=("closure error 3.0e-05 eV",)
                if metrics.get("closure_error", 0) > 1e-6
                else (),
            )
            write_json(folder / "records" / f"{probe}.json", record)
    write_json(folder / "run.json", info)


def _accuracy(name, seed, probe, rng):
    del probe
    scale = RMSE_EV.get(name, 0.1) * (1 + 0.03 * seed)
    frames, atoms = 58, 21
    energy = rng.choice([-3.62, -3.71], frames) + 0.01 * rng.standard_normal(frames)
    forces = rng.standard_normal((frames * atoms, 3))
    metrics = {
        f"{split}_{quantity}_{measure}": factor * scale * size
        for split, factor in (("train", 0.5), ("validation", 1.1), ("test", 1.0))
        for quantity, size in (("force", 1.0), ("energy", 0.013))
        for measure in ("rmse", "mae")
    }
    for kind, factor in (("md_doped_600K", 1.1), ("md_doped_300K", 0.8)):
        metrics[f"test_force_rmse/{kind}"] = factor * scale
        metrics[f"test_energy_rmse/{kind}"] = factor * scale * 0.013
    arrays = {
        "energy_reference": energy,
        "energy_model": energy + 0.013 * scale * rng.standard_normal(frames),
        "forces_reference": forces,
        "forces_model": forces + scale * rng.standard_normal(forces.shape),
        "frame_split": np.repeat([0, 1, 2], [40, 6, 12]),
        "frame_config_type": rng.integers(0, 2, frames),
        "config_types": np.array(["md_doped_600K", "md_doped_300K"]),
        "atom_frame": np.repeat(np.arange(frames), atoms),
    }
    return metrics, {}, arrays


def _fixed_path(name, seed, probe, rng):
    height, images = (0.85, 9) if probe == "in-gap" else (1.21, 17)
    error = ERRORS_EV.get(name, 0.2) * (1 + 0.2 * seed)
    x, fine = np.linspace(0.0, 4.2, images), np.linspace(0.0, 4.2, 201)

    def reference(s):
        return height * np.sin(np.pi * s / 4.2) ** 2

    def model(s):
        return (height + error) * np.sin(np.pi * s / 4.2) ** 2 + 0.02 * (s / 4.2) * seed

    metrics = {
        "barrier": float(model(x).max()),
        "barrier_reference": float(reference(x).max()),
        "barrier_error": float(model(x).max() - reference(x).max()),
        "barrier_hermite": float(model(fine).max()),
        "barrier_hermite_error": float(model(fine).max() - reference(fine).max()),
        "asymmetry_error": 0.02 * seed,
        "transition_shift": 0.01 * float(rng.standard_normal()),
        "path_rmse": 0.6 * abs(error),
        "force_slope": None if name == "scratch" else 0.9,
    }
    reasons = {"force_slope": "the model's forces are not finite"} if name == "scratch" else {}
    arrays = {
        "arclength": x,
        "energy_model": np.where(x == x[3], np.nan, model(x)) if name == "scratch" else model(x),
        "energy_reference": reference(x),
        "curve_arclength": fine,
        "curve_energy_model": model(fine),
        "curve_energy_reference": reference(fine),
    }
    return metrics, reasons, arrays


def _sliding(name, seed, probe, rng):
    del rng
    x = np.linspace(0.0, 1.0, 13)
    height = 0.78 / (1.0 + abs(ERRORS_EV.get(name, 0.2))) + 0.02 * seed
    arrays = {
        "arclength": 7.4 * x,
        "reaction_coordinate": x,
        "energy_model": height * np.sin(np.pi * x) ** 2,
    }
    closure = 3e-5 if name == "foundation" else 2e-13
    metrics = {"barrier": height, "closure_error": closure}
    absent = ("barrier_reference", "asymmetry_error", "barrier_error", "path_rmse")
    if probe == "slide-doped":
        why = "path 'slide_doped' has no reference energies"
        return metrics | dict.fromkeys(absent), dict.fromkeys(absent, why), arrays
    arrays["energy_reference"] = 0.78 * np.sin(np.pi * x) ** 2
    metrics |= {"barrier_reference": 0.78, "barrier_error": height - 0.78}
    metrics |= {"asymmetry_error": -0.00001, "path_rmse": 0.1}
    return metrics, {}, arrays


def _stability(name, seed, probe, rng):
    del probe
    times = np.arange(0.0, 2000.0, 10.0)
    warm = 600 + 20 * rng.normal(size=(2, len(times)))
    if name == "scratch":
        warm[:, 120:] = np.nan  # stopped
    arrays = {"series_temperature": warm, "series_temperature_fs": times}
    survived = 0.5 if name == "scratch" else 1.0
    metrics = {"survived": survived, "time": 1.2, "temperature": 600.0 + seed, "rmsd": 0.3}
    return metrics, {}, arrays


def _transport(name, seed, probe, rng):
    del name, seed, probe
    r, t, f = np.linspace(0.1, 8, 60), np.arange(0.0, 900.0, 8.0), np.linspace(0, 12, 50)
    g = 1 + np.exp(-((r - 3) ** 2)) + 0.01 * rng.normal(size=r.shape)
    arrays = {
        "rdf": np.stack([g, g]),
        "rdf_radii": r,
        "rdf_reference": np.stack([g + 0.1, g]),
        "rdf_reference_radii": r,
        "msd_in_plane/Cr": 0.02 * t,
        "msd_out_of_plane/Cr": 0.001 * t,
        "msd_in_plane/Te": 0.001 * t,
        "msd_fs": t,
        "vacf": np.cos(t / 50) * np.exp(-t / 200),
        "vacf_fs": t,
        "vdos": np.exp(-((f - 3) ** 2)),
        "vdos_thz": f,
    }
    metrics = {"temperature": 600.0, "rdf_difference": 0.1, "diffusion_in_plane/Cr": 5e-6,
               "diffusion_bound_in_plane/Cr": 9e-6, "diffusion_out_of_plane/Cr": None,
               "diffusion_bound_out_of_plane/Cr": 1e-6}  # fmt: skip
    why = {"diffusion_out_of_plane/Cr": "the potential gave nan"}
    return metrics, why, arrays


def _conductivity(name, seed, probe, rng):
    del name, probe, rng
    t = np.arange(0.0, 2000.0, 10.0)
    arrays = {}
    for axis in ("in_plane", "cross_plane"):
        arrays |= {
            f"lags_fs_{axis}": t,
            f"hfacf_{axis}": np.exp(-t / 300),
            f"running_{axis}": 0.6 * (1 - np.exp(-t / 300)),
        }
    metrics = {"conductivity_in_plane": 0.6 + 0.1 * seed, "pairwise_error": 0.04}
    return metrics, {}, arrays


def _relaxed_neb(name, seed, probe, rng):
    del probe, rng
    exploded = name == "scratch"
    height = 0.8 + 0.05 * seed
    x = np.linspace(0.0, 3.0 + 0.1 * seed, 9)  # every band has a length of its own
    fine = np.linspace(0.0, x[-1], 201)
    reference = np.linspace(0.0, 2.9, 9)
    steps = 30
    residual = np.exp(-np.arange(steps) / 8.0)
    energies = height * np.sin(np.pi * x / x[-1]) ** 2 + residual[:, None] * (x / 3.0)
    arrays = {
        "arclength_model": x,
        "energy_model": energies[-1] - energies[-1, 0],
        "arclength_reference": reference,
        "energy_reference": 0.85 * np.sin(np.pi * reference / 2.9) ** 2,
        "trace_attempt": np.zeros(steps, int),
        "trace_residual": residual,
        "trace_energy": energies,
    }
    metrics = {
        "barrier": height,
        "barrier_fixed": 0.95,
        "barrier_matched": 0.9,
        "barrier_reference": 0.85,
        "barrier_error": height - 0.85,
        "converged": 1.0,
        "status": 0.0,
        "attempts": 1.0,
        "iterations": 30.0,
    }
    if not exploded:
        arrays |= {"curve_arclength_model": fine}
        arrays |= {"curve_energy_model": height * np.sin(np.pi * fine / fine[-1]) ** 2}
        return metrics, {}, arrays
    arrays["trace_residual"][-5:] = [4.0, 30.0, 600.0, np.inf, 0.0]
    arrays["trace_energy"][-2] = np.nan
    arrays["energy_model"] = 40.0 * arrays["energy_model"]
    metrics |= {"barrier": None, "barrier_error": None, "converged": 0.0, "status": 2.0}
    return metrics, {"barrier": "the potential gave nan"}, arrays


def _gamma_surface(name, seed, probe, rng):
    del name, probe, rng
    first, second = np.meshgrid(np.arange(24) / 24, np.arange(32) / 32, indexing="ij")
    height = 0.4 + 0.1 * seed
    fine = height * (np.sin(np.pi * first) ** 2 + np.sin(np.pi * second) ** 2) / 2
    metrics = {"corrugation": height, "barrier": height / 2, "minima": 1, "closure_error": 1e-9}
    plane = np.array([[4.0, 0.0, 0.0], [2.0, 3.0, 0.0]])
    arrays = {"energy_fine_model": fine, "energy_model": fine[::8, ::8], "plane": plane}
    return metrics, {}, arrays


def _saddle(name, seed, probe, rng):
    del probe, rng
    line = 1 / np.linspace(1 / 240, 1 / 750, 40)
    arrays = {"arrhenius_temperature": line, "temperature": np.array([300.0, 600.0]),
              "mover": np.array(["Cr"])}  # fmt: skip
    if name == "scratch":
        return {"status": 1.0, "barrier": None}, {"barrier": "the potential gave nan"}, arrays
    metrics = {"status": 0.0, "barrier": 0.4 + 0.1 * seed, "negative_modes": 1.0,
               "imaginary_frequency": 3.0, "connected": 1.0, "rate/600K": 2e-3,
               "diffusion/600K": 5e-7}  # fmt: skip
    return metrics, {}, arrays | {"arrhenius_diffusion_model": 1e-3 * np.exp(-5e3 / line)}


def _forgetting(name, seed, probe, rng):
    del probe, rng
    parts = ("generic_energy", "generic_forces", "sliding", "strain_energy", "elastic")
    metrics = {"index": 0.5 + 0.1 * seed, "c11": 75.0, "generic_energy_error": 0.03}
    metrics |= dict.fromkeys(parts, 0.4) | {"dimers": None}
    distance = np.linspace(2.2, 6.9, 52)
    well = 2.0 * ((1 - np.exp(-1.5 * (distance - 2.7))) ** 2 - 1)
    model = well - (300.0 * np.exp(-5 * (distance - 2.2)) if name == "scratch" else 0.1 * seed)
    arrays = {
        "dimer_pairs": np.array(["Sb-Te", "Te-Te"]),
        "dimer_distance": np.stack([distance, distance]),
        "dimer_energy_model": np.stack([model, well]),
        "dimer_energy_foundation": np.stack([well, well]),
    }
    return metrics, {"dimers": "the potential gave nan"}, arrays


def _strain(name, seed, probe, rng):
    del name, probe, rng
    amounts = np.array([0.01, -0.01, 0.0, 0.0, 0.02])
    arrays = {
        "frame_strain": amounts,
        "frame_series": np.array(["isotropic Sb8Te12"] * 3 + ["gap Sb8Te12"] * 2),
        "frame_energy_reference": 30 * amounts**2,
        "frame_energy_model": 30 * amounts**2 + 0.001 * seed,
    }
    metrics = {"energy_rmse": 0.003, "a0": 8.6 + 0.01 * seed, "a_change": 0.011, "relaxed": 1.0}
    return metrics, {}, arrays


def _representation(name, seed, probe, rng):
    """Features of 12 structures of 4 atoms, turned but for the candidate ``scratch``."""
    del probe
    base = np.random.default_rng(5).normal(size=(48, 6))
    turned = base @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 0.1 * seed * rng.normal(size=(48, 6))
    features = rng.normal(size=(48, 6)) if name == "scratch" else turned
    numbers = np.tile([51, 51, 52, 52], 12)
    means = np.stack([features[numbers == z].reshape(12, 2, 6).mean(1) for z in (51, 52)], axis=1)
    arrays = {
        "structures": np.array(["same"]),
        "elements": np.array(["Sb", "Te"]),
        "layer1": features.astype(np.float32),
        "forces": base[:, :3].astype(np.float32),
        "means": means.astype(np.float32),
        "row_number": numbers,
        "row_frame": np.repeat(np.arange(12), 4),
        "frame_kind": np.array(["cold", "path hop"] * 6),
        "frame_count": np.full((12, 2), 2),
        "recipe_energy": rng.normal(size=(12, 1)),
        "recipe_forces": rng.normal(size=(12, 12)),
        "recipe_rdf": rng.normal(size=(12, 5)),
        "recipe_soap": rng.normal(size=(12, 7)),
        "recipe_response": rng.normal(size=(12, 12)),
    }
    drift = 0.9 if name == "scratch" else 0.01 * seed
    metrics = {"drift": drift, "drift/Sb": drift, "drift/Te": drift, "cosine": 1 - drift,
               "displacement": drift, "silhouette": 0.2, "silhouette_null": -0.1}  # fmt: skip
    return metrics, {}, arrays


_MAKERS = {
    "forgetting": _forgetting,
    "strain": _strain,
    "representation": _representation,
    "accuracy": _accuracy,
    "fixed_path": _fixed_path,
    "sliding": _sliding,
    "stability": _stability,
    "transport": _transport,
    "conductivity": _conductivity,
    "relaxed_neb": _relaxed_neb,
    "gamma_surface": _gamma_surface,
    "saddle": _saddle,
}
