"""Looks are distinct, stay away from black, and exist for every library."""

from mlffjax.report import style


def test_looks_are_distinct_and_never_the_reference():
    looks = style.looks([f"candidate {place}" for place in range(30)])
    assert len(set(looks.values())) == 30
    assert all(look.color != style.REFERENCE.color for look in looks.values())


def test_a_candidate_keeps_its_look_when_others_are_added():
    few, many = style.looks(["a", "b"]), style.looks(["a", "b", "c"])
    assert {name: many[name] for name in few} == few


def test_every_look_can_be_drawn_by_both_libraries():
    for look in [style.REFERENCE, style.GUIDE, *style.looks(list("abcdefghijklmno")).values()]:
        assert look.dash in style.STROKES
        assert style.matplotlib_marker(look)
        assert style.matplotlib_dash(look)


def test_colours_can_be_seen_on_white():
    """Relative luminance as WCAG 2 defines it; 0.6 leaves out yellow, the faintest of the eight."""
    for color in style.PALETTE:
        channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        assert 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.6
