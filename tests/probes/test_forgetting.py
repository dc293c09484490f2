import jax
import numpy as np
import pytest
from probes.tiny_generalist import ELEMENTS, tiny

from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.graphs.batching import common_shape, shape_of
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _knowledge, forgetting
from mlffjax.probes._probe import Context
from mlffjax.structures import bundled, generic
from mlffjax.structures.files import read_frames
from mlffjax.structures.paths import Path, read_path

SIGNED = ("generic_energy", "generic_forces", "sliding", "strain_energy")


@jax.jit
def compiled(measure, potential):
    return measure(potential)


@pytest.fixture(scope="module")
def path():
    whole = read_path(bundled.files("slide_pristine")[0], "pristine", closed=True)
    return Path("pristine", whole.frames[:4], closed=False)


@pytest.fixture(scope="module")
def doped():
    return tuple(read_frames(bundled.root() / "neb_in_gap.xyz")[:1])


@pytest.fixture(scope="module")
def context(path, doped):
    return Context(ELEMENTS, tiny().cutoff, doped, paths={"slide": path}, foundation=tiny(0))


def against(context, potential, **choices):
    probe = forgetting.build(forgetting.Config(path="slide", **choices), context)
    return probe, jax.device_get(compiled(probe.measure, potential))


@pytest.fixture(scope="module")
def changed(context):
    return against(context, tiny(1))


def test_the_foundation_has_forgotten_nothing(context):
    probe, found = against(context, tiny(0))
    assert probe.reasons == {}
    for name in ("index", *forgetting.PARTS):
        assert abs(found[name]) < 1e-9, name  # rounding between two compilations
    assert found["elastic_error"] < 1e-6


def test_parts_and_index_are_the_stated_formula(changed):
    probe, found = changed
    assert set(probe.units) == {name for name, value in found.items() if np.ndim(value) == 0}
    scales = forgetting.Scales().model_dump()
    parts = [
        np.log2((found[f"{n}_error"] + s) / (found[f"{n}_error_foundation"] + s))
        for n, s in scales.items()
    ]
    np.testing.assert_allclose([found[name] for name in forgetting.PARTS], parts, rtol=1e-12)
    assert found["index"] == pytest.approx(np.mean(parts), rel=1e-12)
    assert found["elastic_error_foundation"] == 0


def test_errors_on_generic_structures_from_single_evaluations(changed, doped):
    """Only the half that nothing learns from, every structure by itself."""
    del doped
    potential, frames = tiny(1), read_frames(bundled.root().parent / "generic" / "cr_sb_te.xyz")
    held = [frames[index] for index in generic.halves(frames).held]
    one = jax.jit(derivatives.energies_and_forces)
    errors, missing, fractions = [], [], []
    graphs = [build_graph([frame.system], ELEMENTS, potential.cutoff) for frame in held]
    shape = common_shape([shape_of(graph) for graph in graphs])
    for frame in held:
        system = frame.system
        energy, forces = one(
            potential,
            build_graph([system], ELEMENTS, potential.cutoff, shape=shape, dtype=np.float64),
        )
        errors.append(np.asarray(forces)[: len(system.numbers)] - frame.forces)
        missing.append((float(energy[0]) - frame.energy) / len(system.numbers))
        fractions.append([(system.numbers == z).mean() for z in ELEMENTS])
    found = changed[1]
    forces = np.sqrt((np.concatenate(errors) ** 2).mean())
    assert found["generic_forces_error"] == pytest.approx(forces, rel=1e-9)
    shift = np.linalg.lstsq(np.array(fractions), np.array(missing), rcond=None)[0]
    rest = np.array(missing) - np.array(fractions) @ shift
    energy = np.sqrt((rest**2).mean())
    assert found["generic_energy_error"] == pytest.approx(energy, rel=1e-9)


def test_reference_energies_do_not_count(context, doped):
    """Labels with other reference energies give the same errors."""
    known = ELEMENTS
    collected = _knowledge.collect(known, doped, path=None, crystal=None)
    shift = dict(zip(ELEMENTS, (-7.0, 3.0, 11.0), strict=True))
    moved = tuple(
        frame._replace(energy=frame.energy + sum(shift[z] for z in frame.system.numbers.tolist()))
        for frame in collected.generic
    )
    found = [
        jax.jit(_knowledge.observed)(
            _knowledge.questions(collected._replace(generic=frames), ELEMENTS, context.cutoff),
            tiny(1),
        )
        for frames in (collected.generic, moved)
    ]
    # The shift of some eV per atom is projected out to rounding.
    assert found[0].generic_energy == pytest.approx(float(found[1].generic_energy), rel=1e-9)


def test_exchanging_potential_and_foundation_reverses_the_labelled_parts(context, changed):
    _, back = against(context._replace(foundation=tiny(1)), tiny(0))
    for name in SIGNED:
        assert back[name] == pytest.approx(-changed[1][name], abs=1e-9), name
    for name in ("elastic", "dimers"):
        assert changed[1][f"{name}_error"] >= 0
    assert back["elastic"] >= 0


def test_without_labels_the_foundation_is_the_reference(context, path, changed):
    frames = tuple(frame._replace(energy=None, forces=None) for frame in path.frames)
    blank = context._replace(paths={"slide": path._replace(frames=frames)})
    _, found = against(blank, tiny(1))
    assert found["sliding_error_foundation"] == 0
    assert found["sliding_error"] > 0
    assert found["sliding"] > 0
    assert found["generic_forces"] == pytest.approx(changed[1]["generic_forces"], rel=1e-9)


def test_strangers_are_left_out_with_reasons(context, doped):
    """A potential of other elements gets nulls, one of fewer elements what it knows."""
    argon = lennard_jones((18,), cutoff=4.0)
    apart = Context((18,), 4.0, doped, foundation=tiny(0))
    probe = forgetting.build(forgetting.Config(), apart)
    assert compiled(probe.measure, argon) == {}
    assert set(probe.reasons) == set(probe.units)
    assert probe.reasons["index"] == "no part could be measured"
    fewer = context._replace(elements=(51, 52))
    probe = forgetting.build(forgetting.Config(), fewer)
    assert {"dimer_depth/Sb-Sb", "dimer_depth/Sb-Te", "dimer_depth/Te-Te"} == {
        name for name in probe.units if name.startswith("dimer_depth")
    }
    assert set(probe.reasons) == {"sliding", "sliding_error", "sliding_error_foundation"}
    assert 0 < int(probe.constants["generic_structures"][0]) < 20


def test_a_missing_foundation_or_path_is_named(context):
    with pytest.raises(ConfigError, match="expected a foundation"):
        forgetting.build(forgetting.Config(), context._replace(foundation=None))
    with pytest.raises(ConfigError, match="no path 'other'"):
        forgetting.build(forgetting.Config(path="other"), context)


def test_models_of_one_architecture_share_one_compilation(context):
    probe = forgetting.build(forgetting.Config(path="slide"), context)
    traces = 0

    @jax.jit
    def counted(measure, potential):
        nonlocal traces
        traces += 1
        return measure(potential)["index"]

    for seed in (1, 2):
        other = context._replace(foundation=tiny(seed))
        again = forgetting.build(forgetting.Config(path="slide"), other)
        counted(again.measure, tiny(3))
    counted(probe.measure, tiny(4))
    assert traces == 1
