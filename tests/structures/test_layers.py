import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.spacegroup import crystal

from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures import builders, bundled
from mlffjax.structures.files import read_frames
from mlffjax.structures.layers import LayersConfig, find, layers_of, like, named
from mlffjax.structures.system import from_ase, to_ase

HEXAGONAL = [90, 90, 120]


def graphite():
    """AB stacking, a = 2.461, c = 6.708 Å (Trucano and Chen, doi:10.1038/258136a0)."""
    return from_ase(
        crystal(["C", "C"], [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)], spacegroup=194,
                cellpar=[2.461, 2.461, 6.708, *HEXAGONAL])
    )  # fmt: skip


def molybdenite():
    """2H-MoS2, a = 3.160, c = 12.294 Å, z(S) = 0.621 (Bronsema et al., Z. anorg. 540, 15)."""
    return from_ase(
        crystal(["Mo", "S"], [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)], spacegroup=194,
                cellpar=[3.16, 3.16, 12.294, *HEXAGONAL])
    )  # fmt: skip


def doped():
    """A bilayer of Sb2Te3 with Cr on the octahedral site of the gap, which bonds to both layers."""
    system = builders.bilayer(2)
    site = np.add(builders.gap_sites().octahedral, [0, 0, builders.C / 2 - builders.C / 6])
    return builders.intercalate(system, site)


def members(found):
    return [layer.atoms.tolist() for layer in found.layers]


def test_bilayer_with_vacuum():
    found = find(builders.bilayer(1))
    assert members(found) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [gap.vacuum for gap in found.gaps] == [False, True]
    # Between the outer Te planes: c / 3 less twice the half-thickness of a layer.
    gap = builders.C / 3 - 2 * (1 / 3 - builders.TE2) * builders.C
    assert found.gaps[0].thickness == pytest.approx(gap)
    assert found.area == pytest.approx(builders.A**2 * np.sqrt(3) / 2)
    np.testing.assert_allclose(found.normal, [0, 0, 1], atol=1e-12)
    assert found.numbers.tolist() == [0] * 5 + [1] * 5


def test_stacking_vector_oblique_to_the_layers():
    """One layer per cell; the third cell vector leads sideways as well."""
    found = find(builders.bulk(2))
    assert members(found) == [list(range(20))]
    assert found.period == pytest.approx(builders.C / 3)
    assert (found.gaps[0].below, found.gaps[0].above) == (0, 0)


def test_graphite_and_molybdenite():
    found = find(graphite())
    assert sorted(map(len, members(found))) == [2, 2]
    assert [gap.thickness for gap in found.gaps] == pytest.approx([3.354, 3.354])
    found = find(molybdenite())
    assert sorted(map(len, members(found))) == [3, 3]
    # S planes at z = 0.621 and 0.879 (mirrored at 0.75).
    thickness = (0.5 - 2 * (0.75 - 0.621)) * 12.294
    assert [gap.thickness for gap in found.gaps] == pytest.approx([thickness, thickness])


def test_layers_across_other_faces_of_the_cell():
    """Black phosphorus is stacked along b; parameters of Brown and Rundqvist (1965)."""
    system = from_ase(
        crystal("P", [(0, 0.08056, 0.10168)], spacegroup=64,
                cellpar=[3.3136, 10.478, 4.3763, 90, 90, 90])
    )  # fmt: skip
    found = find(system)
    assert list(map(len, members(found))) == [4, 4]
    np.testing.assert_allclose(np.abs(found.normal), [0, 1, 0], atol=1e-12)
    assert found.area == pytest.approx(3.3136 * 4.3763)


@pytest.mark.parametrize("turn", range(3))
def test_answer_does_not_depend_on_the_description_of_the_cell(turn, rng):
    """Other cell vectors of the same lattice, atoms moved and wrapped, space turned."""
    system = doped()
    matrix = np.roll(np.array([[1, 1, 0], [0, 1, 0], [1, -1, 1]]), turn, axis=0)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    cell = matrix @ system.cell
    fractions = np.add(system.positions, [0.3, 0.2, 9.0]) @ np.linalg.inv(cell) % 1
    other = find(system._replace(positions=fractions @ cell @ rotation, cell=cell @ rotation))
    found = find(system)
    assert sorted(members(other)) == sorted(members(found))
    assert [gap.intercalated.tolist() for gap in other.gaps if not gap.vacuum] == [[40]]
    assert other.area == pytest.approx(found.area)
    thin = sorted(gap.thickness for gap in found.gaps)
    assert sorted(gap.thickness for gap in other.gaps) == pytest.approx(thin)


def test_open_direction():
    system = molybdenite()
    found = find(system._replace(pbc=np.array([True, True, False])))
    assert [gap.vacuum for gap in found.gaps] == [False, True]
    assert found.gaps[1].thickness == np.inf


def test_metal_that_glues_layers_together_is_intercalated():
    found = find(doped())
    assert list(map(len, members(found))) == [20, 20]
    assert found.gaps[0].intercalated.tolist() == [40]
    assert found.numbers[40] == -1


def test_the_same_metal_inside_a_layer_is_of_the_layer():
    system = builders.bilayer(2)
    inside = builders.intercalate(
        system, np.add(system.positions[:5].mean(axis=0), [1.2, 0.7, 0.9])
    )
    found = find(inside)
    assert found.numbers[40] == 0
    assert not any(len(gap.intercalated) for gap in found.gaps)


@pytest.mark.parametrize(
    "atoms",
    [bulk("Cu", cubic=True), bulk("Si"), bulk("NaCl", "rocksalt", a=5.64), bulk("Zn"),
     bulk("Na", cubic=True).repeat((1, 1, 2)), fcc111("Cu", (1, 1, 3), periodic=True)],
)  # fmt: skip
def test_crystals_without_layers_are_refused_with_a_remedy(atoms):
    with pytest.raises(InputError, match=r"no layers in .* name the atoms"):
        find(from_ase(atoms))


def test_two_answers_are_ambiguous_and_the_user_decides():
    """LiCoO2 falls apart without Li and without Co (Akimoto, doi:10.1016/0022-4596(98)90203-8)."""
    system = from_ase(
        crystal(["Li", "Co", "O"], [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.26)], spacegroup=166,
                cellpar=[2.816, 2.816, 14.05, *HEXAGONAL])
    )  # fmt: skip
    with pytest.raises(InputError, match=r"ambiguous.* without Li as well as without Co"):
        find(system)
    lithium = np.flatnonzero(system.numbers == 3)
    found = find(system, intercalated=lithium.tolist())
    assert list(map(len, members(found))) == [3, 3, 3]
    assert np.concatenate([gap.intercalated for gap in found.gaps]).tolist() == lithium.tolist()


def test_named_layers_need_no_bonds():
    system = builders.bilayer(1)
    spread = system._replace(positions=system.positions * [1, 1, 1.0])
    found = named(spread, [[0, 1, 2, 3, 4]])
    assert members(found) == members(find(system))
    assert find(system).plane.tolist() == found.plane.tolist()


def test_named_layers_in_a_given_plane():
    system = builders.bulk(2)
    lower = np.flatnonzero(system.positions[:, 2] < 0.5)
    found = named(system, [lower.tolist()], plane=[[1, 0, 0], [1, 1, 0]])
    assert members(found)[0] == lower.tolist() or members(found)[1] == lower.tolist()
    with pytest.raises(InputError, match="two independent lattice vectors"):
        named(system, [lower.tolist()], plane=[[1, 0, 0], [2, 0, 0]])


@pytest.mark.parametrize(
    ("groups", "message"),
    [([[0, 99]], "between 0 and 9"), ([[0], [0]], "named once"), ([[]], "between 0 and 9"),
     ([list(range(10))], "outside the one layer"), ([[0, 5]], "face of the cell")],
)  # fmt: skip
def test_bad_names_are_refused(groups, message):
    with pytest.raises(InputError, match=message):
        named(builders.bilayer(1), groups)


def test_wire_is_refused():
    system = builders.bilayer(1)._replace(pbc=np.array([True, False, False]))
    with pytest.raises(InputError, match="two or three directions"):
        find(system)


def test_configuration():
    system = builders.bilayer(1)
    config = validate({"atoms": [[0, 1, 2, 3, 4]]}, LayersConfig, where="test")
    assert members(layers_of(system, config)) == members(layers_of(system, LayersConfig()))
    with pytest.raises(ConfigError, match="names the layers"):
        validate({"atoms": [[0]], "scale": 1.2}, LayersConfig, where="test")
    with pytest.raises(ConfigError, match="'plane' belongs"):
        validate({"plane": [[1, 0, 0], [0, 1, 0]]}, LayersConfig, where="test")


def phosphorus():
    """Black phosphorus, A17 (Brown and Rundqvist, doi:10.1107/S0365110X65004140)."""
    return from_ase(
        crystal(["P"], [(0, 0.10168, 0.08056)], spacegroup=64,
                cellpar=[3.3136, 10.478, 4.3763, 90, 90, 90])
    )  # fmt: skip


def repeated(system, *times):
    return from_ase(to_ase(system).repeat(times))


def rattled(system, amplitude, seed):
    noise = np.random.default_rng(seed).normal(scale=amplitude, size=system.positions.shape)
    return system._replace(positions=system.positions + noise)


@pytest.mark.parametrize("amplitude", [0.1, 0.2])  # Å, rms a component
@pytest.mark.parametrize(
    ("cold", "expected"),
    [(repeated(graphite(), 3, 3, 1), [18, 18]), (repeated(molybdenite(), 3, 3, 1), [27, 27]),
     (repeated(phosphorus(), 2, 1, 2), [16, 16]), (builders.bulk(2), [20])],
    ids=["graphite", "molybdenite", "black phosphorus", "one layer of Sb2Te3"],
)  # fmt: skip
def test_layers_survive_heat(cold, expected, amplitude):
    """Of six shaken crystals at most one is answered otherwise."""
    rest = sorted(members(find(cold)))
    assert list(map(len, rest)) == expected
    answers = [sorted(members(find(rattled(cold, amplitude, seed)))) for seed in range(6)]
    assert sum(answer == rest for answer in answers) >= 5


@pytest.mark.parametrize("amplitude", [0.1, 0.2])
@pytest.mark.parametrize(
    "atoms",
    [bulk("Cu", cubic=True) * 2, bulk("Si", cubic=True) * 2, bulk("Ti") * (3, 3, 2),
     bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 2,
     crystal(["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221,
             cellpar=[3.905] * 3 + [90] * 3) * 2],
    ids=["Cu", "Si", "Ti", "NaCl", "SrTiO3"],
)  # fmt: skip
def test_heat_makes_no_layers(atoms, amplitude):
    for seed in range(4):
        with pytest.raises(InputError, match="no layers in"):
            find(rattled(from_ase(atoms), amplitude, seed))


@pytest.mark.parametrize(("part", "found"), [("md_doped_300K", 1.0), ("md_doped_600K", 0.95)])
def test_hot_frames_of_the_bundled_data(part, found):
    """One layer of 20 atoms and Cr in the gap; only where Cr climbs may it be of the layer."""
    frames = read_frames(bundled.root() / f"{part}.xyz")
    layers = [find(frame.system) for frame in frames]
    right = [
        list(map(len, members(one))) == [20] and len(one.gaps[0].intercalated) == 1
        for one in layers
    ]
    assert np.mean(right) >= found


def test_a_melting_crystal_is_seldom_answered_in_another_plane():
    """Its atoms leave the planes: most frames are refused, by name."""
    across = refused = 0
    frames = read_frames(bundled.root() / "md_doped_1200K.xyz")
    for frame in frames:
        try:
            across += find(frame.system).plane[:, 2].any()
        except InputError:
            refused += 1
    assert refused >= len(frames) / 2
    assert across <= len(frames) / 4


def test_layers_of_a_hot_frame_are_those_of_the_crystal_at_rest(rng):
    cold = builders.bilayer(2)
    rest = find(cold)
    shaken = cold.positions + rng.normal(scale=0.15, size=cold.positions.shape)
    hot = cold._replace(positions=shaken)
    found = like(hot, rest)
    np.testing.assert_array_equal(found.numbers, rest.numbers)
    heights = hot.positions @ found.normal
    top = heights[found.layers[0].atoms].max() - heights[found.layers[0].atoms].min()
    assert found.layers[0].top - found.layers[0].bottom == pytest.approx(top)
    with pytest.raises(InputError, match="whose layers are known"):
        like(hot._replace(numbers=hot.numbers[1:], positions=hot.positions[1:]), rest)
