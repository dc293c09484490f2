"""Figures and tables of molecular dynamics: structure, motion, heat (the paper's Figs. 1 and 6)."""

from collections.abc import Iterator

import numpy as np

from mlffjax.report import style
from mlffjax.report.curves import Curve, Measured, extracted, grouped, measured, with_spread
from mlffjax.report.figures import SPREAD, Looks, filled, probes_of_kind, reference_name
from mlffjax.report.panels import Figure, Panel, Trace, cleaned, thinned
from mlffjax.report.tables import Column, Table, measured_table
from mlffjax.study.records import ProbeInfo, StudyRecords

KINDS = ("stability", "transport", "conductivity")
POINTS = 400  # of a curve
NEGLIGIBLE_STATES = 1e-3  # of the highest peak of a spectrum
WIDER = 1.25  # than the spectrum
FS_PER_PS = 1000.0
SPECIES = 3  # elements whose displacements are drawn, those that move most

STABILITY = (
    Column("survived", "Survived (fraction)", digits=2),
    Column("time", "Time (ps)", digits=2),
    Column("temperature", "T (K)", digits=0),
    Column("pressure", "P (GPa)", digits=2, signed=True),
    Column("energy_drift", "Drift (meV/atom/ns)", digits=1, signed=True),
    Column("rmsd", "RMSD (Å)", digits=2),
    Column("rmsd_rate", "RMSD rate (Å/ps)", digits=3, signed=True),
    Column("volume_change", "Volume (%)", 100.0, 1, signed=True),
)
CONDUCTIVITY = (
    Column("conductivity_in_plane", "κ in-plane (W/mK)", digits=2),
    Column("cepstral_in_plane", "cepstral (W/mK)", digits=2),
    Column("conductivity_cross_plane", "κ cross-plane (W/mK)", digits=2),
    Column("cepstral_cross_plane", "cepstral (W/mK)", digits=2),
    Column("pairwise_error", "Pairwise flux off by (%)", 100.0, 1),
    Column("edge_error", "Edge flux off by (%)", 100.0, 1),
    Column("temperature", "T (K)", digits=0),
)


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Everything about molecular dynamics; nothing if the study has no such probe."""
    asked = {section.get("kind") for section in study.info.config.get("probes", ())}
    made: list[Figure | Table] = []
    if "stability" in asked:
        made += [stability_figure(study, looks), stability_table(study)]
    if "transport" in asked:
        made += [motion_figure(study, looks), transport_table(study)]
    if "conductivity" in asked:
        made += [heat_figure(study, looks), conductivity_table(study)]
    return tuple(made)


def stability_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Temperature and pressure along the runs (the paper's Fig. 1, T and P)."""
    figure = Figure(
        "fig1-stability",
        "Temperature and pressure in molecular dynamics (the paper's Fig. 1)",
        "Means over replicas; a curve that ends early belongs to a trajectory that stopped. "
        f"{SPREAD}",
    )
    panels = []
    for probe in probes_of_kind(study, "stability"):
        for quantity, unit in (("temperature", "K"), ("pressure", "GPa")):
            key = f"series_{quantity}"
            known = measured(study, probe, key, f"{key}_fs")
            traces = [
                trace
                for name, runs in grouped(known).items()
                for trace in with_spread(name, looks[name], _replica_means(runs, key))
            ]
            if traces:
                title, label = f"{probe.name}: {quantity}", f"{quantity} ({unit})"
                panels.append(Panel(title, "time (ps)", label, tuple(traces)))
    return filled(figure, panels, study, "stability")


def _replica_means(runs: Measured, key: str) -> list[Curve]:
    """One curve per run: the mean over replicas as long as all go on."""
    curves = []
    for run, arrays in runs:
        places = thinned(len(arrays[f"{key}_fs"]), POINTS)
        times = arrays[f"{key}_fs"][places] / FS_PER_PS
        curves.append(Curve(f"seed {run.info.seed}", times, arrays[key][:, places].mean(axis=0)))
    return curves


def stability_table(study: StudyRecords) -> Table:
    """Survival, temperature, pressure, drift."""
    table = Table(
        "table-stability",
        "Stability of molecular dynamics",
        "Survived: fraction of trajectories that got to the end; time: until the first one "
        "stopped. The drift is that of the conserved energy. Mean ± standard deviation over seeds.",
    )
    return measured_table(table, study, "stability", STABILITY)


def motion_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Radial distribution, displacements, velocities (the paper's Fig. 1)."""
    figure = Figure(
        "fig1-motion",
        "Structure and motion (the paper's Fig. 1)",
        f"Total g(r), with {reference_name(study)} in black where frames or a trajectory were "
        "named; mean square displacements of the elements that move most; velocity "
        f"autocorrelation and vibrational density of states. {SPREAD}",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, "transport")
        for panel in _motion_panels(study, probe, looks)
    ]
    return filled(figure, panels, study, "transport")


def _motion_panels(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    known = measured(study, probe, "rdf", "rdf_radii")
    if not known:
        return
    source = reference_name(study)
    totals = [(run, {**arrays, "rdf_total": arrays["rdf"][0]}) for run, arrays in known]
    traces = [*_reference(source, known, "rdf_reference_radii", "rdf_reference", row=0)]
    traces += _curves(totals, looks, "rdf_radii", "rdf_total")
    yield Panel(f"{probe.name}: g(r)", "distance (Å)", "g(r)", tuple(traces))
    for element in _mobile(known):
        for direction in ("in_plane", "out_of_plane"):
            drawn = _curves(known, looks, "msd_fs", f"msd_{direction}/{element}", FS_PER_PS)
            title = f"{probe.name}: {element} {direction.replace('_', '-')}"
            if drawn:
                yield Panel(title, "time (ps)", "MSD (Å²)", tuple(drawn))
    traces = [*_reference(source, known, "vacf_reference_fs", "vacf_reference", FS_PER_PS)]
    traces += _curves(known, looks, "vacf_fs", "vacf", FS_PER_PS)
    yield Panel(f"{probe.name}: VACF", "time (ps)", "C(t) / C(0)", tuple(traces))
    states = _curves(_occupied(known), looks, "vdos_thz", "vdos")
    yield Panel(f"{probe.name}: VDOS", "frequency (THz)", "modes per THz", tuple(states))


def _occupied(known: Measured) -> Measured:
    """Spectra up to the highest frequency at which a candidate has modes worth drawing."""
    spectra = [(arrays["vdos_thz"], arrays["vdos"]) for _, arrays in known if "vdos" in arrays]
    tops = [
        thz[density > NEGLIGIBLE_STATES * density.max()].max(initial=0) for thz, density in spectra
    ]
    end = WIDER * max(tops, default=0.0)
    found = []
    for run, arrays in known:
        inside = arrays.get("vdos_thz", np.zeros(0)) <= end
        cut = {name: arrays[name][inside] for name in ("vdos_thz", "vdos") if name in arrays}
        found.append((run, {**arrays, **cut}))
    return found


def _mobile(known: Measured) -> list[str]:
    """The elements with the largest displacements at a quarter of the run, most mobile first."""
    largest: dict[str, float] = {}
    for _, arrays in known:
        for name, values in arrays.items():
            if name.startswith("msd_in_plane/"):
                element, value = name.partition("/")[2], float(values[len(values) // 4])
                largest[element] = max(value, largest.get(element, 0.0))
    return sorted(largest, key=lambda element: -largest[element])[:SPECIES]


def _curves(known: Measured, looks: Looks, x: str, y: str, scale: float = 1.0) -> list[Trace]:
    traces: list[Trace] = []
    for name, runs in grouped(known).items():
        curves = [_thin(curve, scale) for curve in extracted(runs, x, y)]
        traces += with_spread(name, looks[name], curves)
    return traces


def _thin(curve: Curve, scale: float) -> Curve:
    places = thinned(len(curve.x), POINTS)
    return Curve(curve.run, curve.x[places] / scale, curve.y[places])


def _reference(
    source: str, known: Measured, x: str, y: str, scale: float = 1.0, *, row: int | None = None
) -> Iterator[Trace]:
    """The reference's curve, from the first run that recorded it."""
    for _, arrays in known:
        if x in arrays and y in arrays:
            values = arrays[y] if row is None else arrays[y][row]
            places = thinned(len(values), POINTS)
            along = cleaned(arrays[x][places] / scale)
            yield Trace(source, "line", style.REFERENCE, along, cleaned(values[places]))
            return


def transport_table(study: StudyRecords) -> Table:
    """Diffusion coefficients with their bounds, and distances from the reference."""
    table = Table(
        "table-transport",
        "Diffusion and distance from the reference",
        "Coefficients in 1e-6 cm²/s; where none is given no diffusion was seen, and the bound is "
        "what the trajectory excludes with 95 % confidence. Δg and ΔC are mean magnitudes of the "
        "difference to the reference's curve. Mean ± standard deviation over seeds.",
    )
    return measured_table(table, study, "transport", _transport_columns(study))


def _transport_columns(study: StudyRecords) -> list[Column]:
    elements = dict.fromkeys(
        name.partition("/")[2]
        for run in study.runs
        for probe in probes_of_kind(study, "transport")
        if probe.name in run.probes
        for name in run.probes[probe.name].metrics
        if name.startswith("diffusion_in_plane/")
    )
    shown = (("in_plane", "in-plane"), ("out_of_plane", "out-of-plane"))
    columns = [
        Column("temperature", "T (K)", digits=0),
        Column("rdf_difference", "Δg", digits=3),
        Column("vacf_difference", "ΔC", digits=3),
        Column("hop_count", "Hops", digits=1),
    ]
    for element in elements:
        for key, words in shown:
            columns += [
                Column(f"diffusion_{key}/{element}", f"D {element} {words}", 1e6, 2),
                Column(f"diffusion_bound_{key}/{element}", f"bound {element} {words}", 1e6, 2),
            ]
    return columns


def heat_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Autocorrelation of the heat flux and running conductivity (the paper's Fig. 6)."""
    figure = Figure(
        "fig6-heat",
        "Heat flux autocorrelation and thermal conductivity (the paper's Fig. 6)",
        "Normalised autocorrelation of the exact heat flux, and its running integral, in the plane "
        f"of the layers and across. {SPREAD}",
    )
    panels = []
    for probe in probes_of_kind(study, "conductivity"):
        for axis in ("in_plane", "cross_plane"):
            known = measured(study, probe, f"hfacf_{axis}", f"running_{axis}")
            for key, label in (("hfacf", "C(t) / C(0)"), ("running", "κ(t) (W/mK)")):
                drawn = _curves(known, looks, f"lags_fs_{axis}", f"{key}_{axis}", FS_PER_PS)
                title = f"{probe.name}: {axis.replace('_', '-')}"
                if drawn:
                    panels.append(Panel(title, "time (ps)", label, tuple(drawn)))
    return filled(figure, panels, study, "conductivity")


def conductivity_table(study: StudyRecords) -> Table:
    """Conductivities by both estimators, and the errors of approximate fluxes."""
    table = Table(
        "table-conductivity",
        "Thermal conductivity",
        "Green–Kubo with the exact heat flux: integral where the correlation has died out, and "
        "cepstral estimate. The last columns say how far two approximate fluxes are from the exact "
        "one. Mean ± standard deviation over seeds.",
    )
    return measured_table(table, study, "conductivity", CONDUCTIVITY)
