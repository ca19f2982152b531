"""What hostile input is made of, in one place: JSON of any shape, odd scalars, names with a path, huge things."""

from hypothesis import strategies as st

HTML = "<!DOCTYPE html><html><head><title>Error 502</title></head><body><script>alert(1)</script></body></html>"
DEEP = "[" * 20_000
HUGE_INT = 16**6_000  # Python refuses to write it in decimal; so does Hypothesis, so it is for examples by hand
BAD_NAMES = (
    "",
    "7",
    "../../etc/passwd",
    "/etc/passwd",
    "projects/p/locations/us-central1/tuningJobs/../../../secrets/1",
    "projects/p/locations/us-central1/endpoints/1/../2",
    "projects/p/locations/evil.example.com#/models/1",
    "projects/p/locations/us-central1/models/1?alt=media",
    "projects/p/locations/us-central1/datasets/1",
    "projects/../locations/us-central1/models/1",
    "projects/p/locations/us-central1/models/1@2@3",
    "projects/p/locations/us-central1/models/1\n",
    "https://evil.example.com/projects/p/locations/us-central1/models/1",
    "None",
    "\x00",
    "x" * 5_000,
)

texts = st.one_of(
    st.sampled_from((*BAD_NAMES, HTML, "a|b\n# c\n[x](http://e.example)", "ünï\u202e\ud800", "NaN", "1e999", "0x10")),
    st.text(max_size=20),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")]),
    st.floats(),
    texts,
)
json_values = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)
wire_texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from([*BAD_NAMES, HTML])
# What json.dumps writes and an HTTP server can send.
wire_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        wire_texts,
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(wire_texts, children, max_size=3),
    max_leaves=6,
)


def spoiled(good: dict, names: list[str] | None = None) -> st.SearchStrategy[dict]:
    """Return a good mapping with one to three of its fields replaced by anything, or dropped."""
    some = st.lists(st.sampled_from(names or sorted(good)), min_size=1, max_size=3, unique=True)

    @st.composite
    def build(draw):
        result = dict(good)
        for name in draw(some):
            if draw(st.integers(0, 4)) == 0:
                result.pop(name, None)
            else:
                result[name] = draw(wire_values)
        return result

    return build()
