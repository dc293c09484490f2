"""mlip as a side of the benchmark: its own MACE of the same size, with weights of its own."""

import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import crystals
import jax
from measuring import Spent, Work, serve

warnings.filterwarnings("ignore")
Case = Mapping[str, Any]


def force_field(case: Case) -> Any:
    """The architecture of ``crystals``; parameters are drawn by one compiled program."""
    from mlip.data import DatasetInfo
    from mlip.data.helpers.dummy_init_graph import get_dummy_graph_for_model_init
    from mlip.models import ForceField, Mace
    from mlip.typing.properties import Properties

    if case["dtype"] == "float64":
        jax.config.update("jax_enable_x64", True)
    sizes = crystals.ARCHITECTURES[case["architecture"]]
    information = DatasetInfo(
        atomic_energies_map=dict(zip(crystals.ELEMENTS, crystals.REFERENCE_ENERGIES, strict=True)),
        graph_cutoff_angstrom=sizes.r_max,
        avg_num_neighbors=crystals.AVERAGE_NEIGHBORS,
        avg_r_min_angstrom=2.5,
        scaling_mean=crystals.SHIFT,
        scaling_stdev=crystals.SCALE,
    )
    config = Mace.Config(
        num_layers=2,
        num_channels=sizes.channels,
        l_max=sizes.max_ell,
        node_symmetry=sizes.degree,
        correlation=sizes.correlation,
        readout_irreps=("16x0e", "0e"),
        num_rbf=sizes.num_bessel,
        radial_mlp_hidden=list(sizes.radial),
        residual_connection_first_layer=True,
    )
    network = Mace(config=config, dataset_info=information)
    wanted = Properties(stress=False)
    predictor = ForceField.get_predictor_class(wanted, config)(
        mlip_network=network,
        required_properties=wanted,
        energy_head=ForceField.get_energy_head(config, wanted, network),
    )

    def drawn(key: jax.Array) -> Any:
        return predictor.init(key, get_dummy_graph_for_model_init())

    return ForceField(predictor=predictor, params=jax.jit(drawn)(jax.random.key(0)))


def energy_forces(case: Case, weights: str) -> Work:
    """Energy and forces of one structure, the padded graph at hand."""
    from mlip.simulation.ase.mlip_ase_calculator import MLIPForceFieldASECalculator

    field = force_field(case)
    atoms = crystals.cell_with_chromium(case["atoms"])
    calculator = MLIPForceFieldASECalculator(atoms, 1.0, field)
    calculator.atoms = atoms  # which it forgets
    graph = calculator._prepare_graph(atoms)
    compiled = jax.jit(field.calculate)
    return Work(lambda: jax.block_until_ready(compiled(graph)))


def md(case: Case, weights: str) -> Work:
    """Steps of its engine on jax-md, which logs every episode; start and compilation apart."""
    import time

    from mlip.simulation.jax_md import JaxMDSimulationEngine as Engine

    steps = 5
    settings = Engine.Config(
        num_steps=4 * steps,
        timestep_fs=1.0,
        temperature_kelvin=300.0,
        snapshot_interval=steps,
        num_episodes=4,
    )
    field, atoms = force_field(case), crystals.cell_with_chromium(case["atoms"])

    def call() -> Spent:
        engine = Engine(atoms, field, settings)
        marks = [(time.perf_counter(), time.process_time())]
        engine.attach_logger(lambda _: marks.append((time.perf_counter(), time.process_time())))
        engine.run()
        first, last = marks[-3], marks[-1]  # two episodes that compiled nothing
        return Spent(last[0] - first[0], last[1] - first[1], 2 * steps)

    return Work(call)


def band(case: Case, weights: str) -> Work:
    """All images as one batch; lists are made in the call."""
    from mlip.inference import run_batched_inference

    field, images = force_field(case), crystals.band(case["atoms"])
    return Work(lambda: run_batched_inference(images, field, batch_size=len(images)))


WORKS = {"energy_forces": energy_forces, "md": md, "band": band}

if __name__ == "__main__":
    serve(WORKS, {"mlip": metadata.version("mlip"), "jax": jax.__version__, "weights": "its own"})
