"""What the representations of all runs of a study say together: alignment, pictures, silhouettes.

Records of the probe ``representation`` hold features of one run each; here they meet. The result is
``OUT/representation.json``, because the report computes nothing; see ``evidence`` for its contents.
It is made again only if a record has changed.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import permutation_test, rankdata

from mlffjax.errors import MlffjaxError
from mlffjax.representation import similarity
from mlffjax.representation.descriptors import joined
from mlffjax.representation.embedding import components, silhouette, tsne, umap
from mlffjax.study.compared import ERRORS, FILE, KIND, fingerprint
from mlffjax.study.records import (
    ProbeInfo,
    RunRecords,
    StudyRecords,
    number_or_none,
    read_json,
    write_json,
)

NUMBERS = 2e7  # of all Gaussian kernels together; 10 models come to 1414 rows
POINTS = 1200  # of a picture
PERPLEXITY = 30.0
FEWEST = 4  # runs behind a rank correlation
BLOCKS = ("energy", "forces", "rdf", "soap", "response")
DRIFTS = ("drift", "displacement")


Arrays = dict[str, np.ndarray]
Known = Sequence[tuple[RunRecords, Arrays]]


def update(records: StudyRecords, out: Path) -> None:
    """Write ``OUT/representation.json``, if the study has such probes and they have changed."""
    if not _probes(records):
        return
    known = read_json(out / FILE, [])
    if known is None or known.get("fingerprint") != fingerprint(records):
        write_json(out / FILE, evidence(records))


def evidence(records: StudyRecords) -> dict[str, Any]:
    """Everything by name of the probe; numbers that cannot be had are None.

    Mode ``like_for_like``: ``layers`` {name: {``runs``, ``rows``, ``rbf_rows``, matrices
    ``linear``, ``rbf``, ``procrustes``}}, where a name is ``layer 1``, ``layer 1, Te`` or
    ``forces``. Mode ``paper``: ``runs`` only. Both: ``picture`` {``run`` and ``kind`` of every
    point, ``pca``, ``tsne``, ``umap`` points, ``explained``, ``aligned_to``} and ``silhouettes``
    [{``space``, ``labels``, ``score``, ``groups``, ``null``, ``null_spread``, ``p_value``}].
    ``links`` are rank correlations over runs [{``drift``, ``probe``, ``metric``, ``runs``, ``rho``,
    ``p_value``}]; ``notes`` say what is missing.
    """
    found = {probe.name: _of_probe(records, probe) for probe in _probes(records)}
    return _plain({"schema_version": 1, "fingerprint": fingerprint(records), "probes": found})


def _of_probe(records: StudyRecords, probe: ProbeInfo) -> dict[str, Any]:
    paper = probe.config.get("mode") == "paper"
    try:
        return (_of_trajectories if paper else _at_structures)(records, probe)
    except Exception as error:  # records are whole without it, and the report must be written
        why = f"runs could not be compared: {type(error).__name__}: {error}"
        mode = "paper" if paper else "like_for_like"
        return {"mode": mode, "notes": [why], "layers": {}, "silhouettes": [], "links": []}


def _probes(records: StudyRecords) -> list[ProbeInfo]:
    return [probe for probe in records.probes().values() if probe.kind == KIND]


def _plain(data: Any) -> Any:
    """With Python's numbers, and None for what JSON has no number for."""
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, np.ndarray):
        return _plain(data.tolist())
    return number_or_none(float(data)) if isinstance(data, float | np.floating) else data


def _known(records: StudyRecords, probe: ProbeInfo, key: str) -> Known:
    every = [(run, run.arrays(probe.name)) for run in records.runs]
    return [(run, arrays) for run, arrays in every if key in arrays]


# Like for like: features at the same structures.


def _at_structures(records: StudyRecords, probe: ProbeInfo) -> dict[str, Any]:
    known, notes = _known(records, probe, "structures"), []
    same = [(r, a) for r, a in known if _digest(a) == _digest(known[0][1])]
    if len(same) < len(known):
        others = ", ".join(r.info.id for r, a in known if _digest(a) != _digest(known[0][1]))
        notes.append(f"measured at other structures and left out: {others}")
    made: dict[str, Any] = {"mode": "like_for_like", "notes": notes}
    if not same:
        return made | {"notes": ["no run has features"], "layers": {}, "silhouettes": []}
    made["structures"] = len(same[0][1]["frame_kind"])
    made["layers"] = {
        name: compared for name, parts in _parts(same) if (compared := _compared(parts, probe))
    }
    made |= _overlay(same, probe, notes)
    made["links"] = list(_links(records, probe))
    return made


def _digest(arrays: Arrays) -> str:
    return str(arrays["structures"][0])


def _parts(known: Known) -> Iterator[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Features of all runs by layer, then by element of it, and forces."""
    names = sorted({n for _, a in known for n in a if n.startswith("layer")}, key=_place)
    numbers = known[0][1]["row_number"]
    # Elements stand in the order of their atomic numbers.
    symbols = dict(zip(np.unique(numbers), known[0][1]["elements"], strict=True))
    for name in (*names, "forces"):
        have = [(run.info.id, arrays[name]) for run, arrays in known if name in arrays]
        title = name if name == "forces" else f"layer {_place(name)}"
        yield title, have
        for number, element in symbols.items() if len(symbols) > 1 else ():
            yield f"{title}, {element}", [(i, rows[numbers == number]) for i, rows in have]


def _place(name: str) -> int:
    return int(name.removeprefix("layer"))


def _compared(parts: Sequence[tuple[str, np.ndarray]], probe: ProbeInfo) -> dict[str, Any] | None:
    """Matrices of every pair of runs; None where there are too few atoms."""
    if not parts or len(parts[0][1]) < similarity.FEWEST:
        return None
    features = similarity.stacked([rows for _, rows in parts], [name for name, _ in parts])
    most = max(similarity.FEWEST, int(np.sqrt(NUMBERS / len(parts))))
    rows = similarity.chosen_rows(features.shape[1], most, seed=int(probe.config.get("seed", 0)))
    return {
        "runs": [name for name, _ in parts],
        "rows": features.shape[1],
        "rbf_rows": len(rows),
        "linear": similarity.linear_cka(features),
        "rbf": similarity.rbf_cka(features[:, rows]),
        "procrustes": similarity.procrustes(features),
    }


def _overlay(known: Known, probe: ProbeInfo, notes: list[str]) -> dict[str, Any]:
    """All runs in one space: each turned onto the reference, since the basis of a layer is free."""
    have = [(run, arrays) for run, arrays in known if "means" in arrays]
    if len(have) < 2:
        notes.append("pictures: fewer than two runs have features")
        return {"silhouettes": []}
    untrained = [pair for pair in have if not pair[0].info.steps]
    reference = (untrained or have)[0]
    points = np.concatenate([_turned(arrays, reference[1]) for _, arrays in have])
    runs = [run for run, arrays in have for _ in arrays["frame_kind"]]
    kinds = np.concatenate([arrays["frame_kind"] for _, arrays in have])
    made = _pictured(points, runs, kinds, probe, notes)
    made["picture"]["aligned_to"] = reference[0].info.id
    return made


def _turned(arrays: Arrays, reference: Arrays) -> np.ndarray:
    """Means by element of each structure, centred, scaled and rotated onto the reference.

    Centred element by element: what tells elements apart is most of the variance, and all models
    have it in common.
    """
    (own, centres), (target, _) = _centred(arrays), _centred(reference)
    size = np.linalg.norm(own) / np.sqrt(len(own))
    turned = (arrays["means"] - centres) @ similarity.rotation_onto(own, target)
    present = arrays["frame_count"][:, :, None] > 0
    scaled = np.where(present, turned / (size if size > 0 else 1.0), 0.0)
    return scaled.reshape(len(scaled), -1)


def _centred(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Features of the last layer without the means of their elements, and these means."""
    last = arrays[max((n for n in arrays if n.startswith("layer")), key=_place)].astype(float)
    _, kind = np.unique(arrays["row_number"], return_inverse=True)
    centres = np.array([last[kind == k].mean(axis=0) for k in range(kind.max() + 1)])
    return last - centres[kind], centres


# The paper's recipe: each run's own trajectory.


def _of_trajectories(records: StudyRecords, probe: ProbeInfo) -> dict[str, Any]:
    known, notes = _known(records, probe, "recipe_soap"), []
    for name, record in ((r.info.id, r.probes.get(probe.name)) for r in records.runs):
        if record is not None and record.status == "ok" and record.arrays is None:
            notes.append(f"{name} has no trajectory that got to the end, so it is left out")
    made: dict[str, Any] = {"mode": "paper", "notes": notes, "silhouettes": []}
    made["runs"] = [run.info.id for run, _ in known]
    if len(known) < 2:
        notes.append("fewer than two runs have a trajectory")
        return made
    blocks = {name: np.concatenate([a[f"recipe_{name}"] for _, a in known]) for name in BLOCKS}
    runs = [run for run, arrays in known for _ in arrays["recipe_soap"]]
    try:
        vectors = joined(blocks)
    except MlffjaxError as error:
        notes.append(str(error))
        return made
    return made | _pictured(vectors, runs, np.full(len(runs), ""), probe, notes)


# Pictures and silhouettes of either.


def _pictured(
    points: np.ndarray,
    runs: Sequence[RunRecords],
    kinds: np.ndarray,
    probe: ProbeInfo,
    notes: list[str],
) -> dict[str, Any]:
    """Pictures of points, and how separate candidates and kinds of structures are."""
    seed = int(probe.config.get("seed", 0))
    # Every so many points, so that each run keeps its part and its order.
    chosen = np.arange(0, len(points), max(1, -(-len(points) // POINTS)))
    points, kinds = points[chosen], kinds[chosen]
    drawn = [runs[place].info for place in chosen.tolist()]
    names = np.array([info.name for info in drawn])
    picture: dict[str, Any] = {
        "run": [info.id for info in drawn],
        "kind": kinds.tolist(),
    }
    made: dict[str, Any] = {"picture": picture, "silhouettes": []}
    space = components(points)
    picture |= {"pca": space.scores[:, :2], "explained": space.explained[:2]}
    for name, draw in {
        "tsne": functools.partial(tsne, perplexity=PERPLEXITY),
        "umap": umap,
    }.items():
        try:
            picture[name] = draw(space.scores, seed=seed)
        except (MlffjaxError, ImportError) as error:
            notes.append(str(error))
    permutations = int(probe.config.get("permutations", 200))
    score = functools.partial(silhouette, permutations=permutations, seed=seed)
    spaces = {"features": space.scores, "tsne": picture.get("tsne")}
    for labels, values in {"candidate": names, "kind": kinds}.items():
        for name, rows in spaces.items():
            if rows is not None and len(set(values)) > 1:
                said = score(rows, values)._asdict()
                made["silhouettes"].append({"space": name, "labels": labels, **said})
    return made


def _links(records: StudyRecords, probe: ProbeInfo) -> Iterator[dict[str, Any]]:
    """Rank correlations of drift with errors, over trained runs that began with the foundation."""
    runs = [r for r in records.runs if r.info.starts_from == "foundation" and r.info.steps]
    for other in records.probes().values():
        metric = ERRORS.get(other.kind)
        for name in DRIFTS if metric else ():
            pairs = [(r.metric(probe.name, name), r.metric(other.name, str(metric))) for r in runs]
            known = np.array([p for p in pairs if None not in p], float).reshape(-1, 2)
            drifts, errors = known.T
            if other.kind != "forgetting":
                errors = np.abs(errors)
            link = {"drift": name, "probe": other.name, "metric": metric, "runs": len(known)}
            yield link | dict(
                zip(("rho", "p_value"), rank_correlation(drifts, errors), strict=True)
            )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Spearman's coefficient and its p-value by permutations; NaN below four pairs or of constants.

    All permutations are counted where there are few, 2000 of them otherwise.
    """
    if len(first) < FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan"), float("nan")
    one, other = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    scale = np.linalg.norm(one) * np.linalg.norm(other)

    def statistic(ranks: np.ndarray, axis: int) -> np.ndarray:
        return (ranks * other).sum(axis=axis) / scale

    found = permutation_test(
        (one,), statistic, vectorized=True, permutation_type="pairings", n_resamples=2000,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.statistic), float(found.pvalue)
