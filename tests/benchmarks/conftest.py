import pytest
import uproot

from evtfw import data

EVENTS = 20


@pytest.fixture(scope="session")
def small_file(tmp_path_factory):
    """The first events of the shipped sample."""
    path = tmp_path_factory.mktemp("benchmarks") / "small.root"
    with uproot.open(f"{data.path('toptag_sample.root')}:Events") as tree:
        names = tree.keys()
        counters = {name for name in names if tree[name].typename == "int32_t" and name.startswith("n")}
        columns = tree.arrays([name for name in names if name not in counters], entry_stop=EVENTS)
    with uproot.recreate(path) as file:
        file["Events"] = {name: columns[name] for name in columns.fields}
    return str(path)
