import shutil

import pytest

import evtfw.data
from evtfw.core.clock import RealClock
from evtfw.core.errors import BadRequest, ConfigurationError
from evtfw.core.resource import JobContext
from evtfw.external.errors import ModelNotFound
from evtfw.external.service.repository import ModelRepository

CONTEXT = JobContext(RealClock(), 1, 1, lambda line: None)
FULL = """
name: "toptag"
platform: "onnxruntime_onnx"
max_batch_size: 8
input { name: "image" data_type: TYPE_FP32 dims: [ 64, 64, 1 ] }
output { name: "probability" data_type: TYPE_FP32 dims: [ 2 ] }
instance_group { count: 2 kind: KIND_CPU }
dynamic_batching {
  preferred_batch_size: [ 4, 2 ]
  max_queue_delay_microseconds: 500
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { default_timeout_microseconds: 2000000 max_queue_size: 20 allow_timeout_override: true }
  priority_queue_policy { key: 3 value { max_queue_size: 5 } }
}
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


@pytest.fixture
def repository(tmp_path):
    """Make a repository: ``repository(config, versions=(1, 2))``."""

    def make(config=None, versions=("1",), name="toptag"):
        folder = tmp_path / "models" / name
        for version in versions:
            (folder / version).mkdir(parents=True)
            shutil.copy(evtfw.data.path("toptag.onnx"), folder / version / "model.onnx")
        if config is not None:
            (folder / "config.pbtxt").write_text(config)
        make.said = []
        return ModelRepository(tmp_path / "models", say=make.said.append)

    return make


def load(repository):
    (model,) = repository.load("toptag")
    return model


def test_a_configuration_is_read_and_checked_against_the_model(repository):
    model = load(repository(FULL))
    model.open(CONTEXT)
    try:
        assert model.description.max_batch_size == 8
        assert model.description.name == "toptag"
        assert model.version == "1"
        assert model.instances == 2
        settings = model.settings
        assert settings.preferred_batch_sizes == (2, 4)
        assert settings.max_queue_delay_s == pytest.approx(0.0005)
        assert settings.level_of(0) == 2
        assert settings.policy_of(1).timeout_s == 2
        assert settings.policy_of(3).max_queue_size == 5
        assert list(model.config().input[0].dims) == [64, 64, 1]
        assert model.config().dynamic_batching.priority_levels == 3
    finally:
        model.close()


@pytest.mark.parametrize("config", [None, "", 'name: "toptag" backend: "onnxruntime"'])
def test_what_is_left_out_comes_from_the_model(repository, config):
    model = load(repository(config))
    model.open(CONTEXT)
    model.close()
    assert model.config().max_batch_size == 256
    assert [tensor.name for tensor in model.config().output] == ["probability"]
    assert model.config().name == "toptag"


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["10"]),
        ("version_policy { all {} }", ["1", "2", "10"]),
        ("version_policy { latest { num_versions: 2 } }", ["2", "10"]),
        ("version_policy { specific { versions: [ 1, 2 ] } }", ["1", "2"]),
    ],
)
def test_versions_are_served_as_the_policy_says(repository, policy, served):
    models = repository(policy, versions=("1", "2", "10", "old", "03")).load("toptag")
    assert [model.version for model in models] == served


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("max_batch_size: many", "is no model configuration: 1:17"),
        ('name: "other"', "name is 'other', but the folder is 'toptag'"),
        ('backend: "tensorrt"', "backend 'tensorrt' is not there; evtfw serves onnxruntime"),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }",
            "preferred_batch_size 8 is not between 1 and",
        ),
        ('default_model_filename: "../../x.onnx"', "must be the name of a file in the version's folder"),
        ('default_model_filename: "modle.onnx"', "did you mean 'model.onnx'"),
        ("version_policy { specific { versions: 7 } }", "asks for version 7, which is not there"),
        ('parameters { key: "url" value { string_value: "mock:x" } }', 'the parameter url needs backend: "evtfw"'),
        ('backend: "evtfw"', "needs parameters"),
        ("dynamic_batching { priority_queue_policy { key: 2 value {} } }", "has a level 2, but priority_levels is 0"),
    ],
)
def test_mistakes_are_named(repository, config, message):
    with pytest.raises(ConfigurationError) as caught:
        repository(config).load("toptag")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FULL.replace('"image"', '"imgae"'), "there is no input 'imgae' in the model; did you mean 'image'?"),
        (FULL.replace("64, 64, 1", "64, 64, 3"), "dims [64, 64, 3], but the model has TYPE_FP32 dims [64, 64, 1]"),
        (FULL.replace("TYPE_FP32", "TYPE_FP64", 1), "input 'image' is TYPE_FP64 dims"),
    ],
)
def test_tensors_that_are_not_the_models_are_named_when_it_is_opened(repository, config, message):
    model = load(repository(config))
    with pytest.raises(ConfigurationError) as caught:
        model.open(CONTEXT)
    assert message in str(caught.value)


def test_what_has_no_effect_is_said_by_name(repository):
    make = repository
    load(
        make(
            "optimization { graph { level: 1 } } instance_group { kind: KIND_GPU gpus: 0 } "
            'parameters { key: "fast" value { string_value: "1" } } model_warmup { name: "w" } '
            "max_batch_size: 2 dynamic_batching { preserve_ordering: true "
            "default_queue_policy { timeout_action: DELAY } }"
        )
    )
    for name in (
        "optimization",
        "instance_group.gpus",
        "instance_group.kind",
        "model_warmup",
        "dynamic_batching.preserve_ordering",
        "timeout_action: DELAY",
        "the parameter fast",
    ):
        assert any(f"{name} " in f"{line} " for line in make.said), name


def test_any_backend_can_stand_in_a_repository(repository):
    (model,) = repository('backend: "evtfw" parameters { key: "url" value { string_value: "mock:x" } }').load("toptag")
    assert model.backend.url == "mock:x"


@pytest.mark.parametrize("name", ["..", "../toptag", "a/b", "a\\b", "", ".hidden", "x\0y", "a" * 300, "toptag\n"])
def test_names_that_could_be_paths_are_refused(repository, name):
    with pytest.raises(BadRequest, match="is no name of a model"):
        repository().load(name)


def test_links_must_not_lead_out(repository, tmp_path):
    models = repository()
    outside = tmp_path / "outside"
    shutil.move(tmp_path / "models" / "toptag", outside)
    (tmp_path / "models" / "toptag").symlink_to(outside)
    with pytest.raises(ConfigurationError, match="leads out of the model repository"):
        models.load("toptag")
    (tmp_path / "models" / "toptag").unlink()
    (tmp_path / "models" / "toptag" / "1").mkdir(parents=True)
    (tmp_path / "models" / "toptag" / "1" / "model.onnx").symlink_to(outside / "1" / "model.onnx")
    with pytest.raises(ConfigurationError, match="leads out of the model repository"):
        models.load("toptag")


def test_what_is_not_there(repository, tmp_path):
    with pytest.raises(ModelNotFound, match="did you mean 'toptag'"):
        repository().load("toptga")
    (tmp_path / "models" / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="has no folder of a version"):
        repository(versions=()).load("empty")
    with pytest.raises(ConfigurationError, match="no model repository"):
        ModelRepository(tmp_path / "nothing", say=print)
