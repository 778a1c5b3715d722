"""Keys of the cache for networks without a name: what they hold, and what they compute."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from sklearn_ncti._linalg.threads import one_torch_thread  # noqa: E402
from sklearn_ncti.backbones import TorchBackbone  # noqa: E402


def small(width=4, stride=1):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 3, stride=stride),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )


def test_modules_are_known_by_their_layers_and_weights(tmp_path):
    torch.manual_seed(0)
    module = small()

    def identity(module, **parameters):
        return TorchBackbone(
            module, **{"input_size": (3, 8, 8), "device": "cpu", **parameters}
        ).identity()

    first = identity(module)
    assert identity(module) == first
    again = small()
    again.load_state_dict(module.state_dict())
    assert identity(again) == first
    strided = small(stride=2)
    strided.load_state_dict(module.state_dict())
    with torch.no_grad():
        again[0].bias[0] += 1
    others = [again, strided]
    assert len({json.dumps(identity(m)) for m in [module, *others]}) == 3
    # What a factory draws is decided by random_state.
    assert identity(small) == identity(small)
    assert identity(small, random_state=1) != identity(small)
    assert identity(module, input_size=(3, 9, 9)) != first
    program = torch.export.export(module.eval(), (torch.zeros(1, 3, 8, 8),))
    path = tmp_path / "p.pt2"
    torch.export.save(program, path)
    assert identity(path) == identity(str(path))
    assert identity(program) == identity(program) != first
    other = torch.export.export(strided.eval(), (torch.zeros(1, 3, 8, 8),))
    assert identity(other) != identity(program)


class Hidden(torch.nn.Module):
    """A network that does what neither its layers nor its weights tell."""

    def __init__(self, power=1, layer=1, scale=1.0, act=torch.relu):
        super().__init__()
        self.net = torch.nn.ModuleList([torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3)])
        self.power, self.layer, self.act = power, layer, act
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, x):
        for module in self.net[: self.layer]:
            x = module(x)
        return self.act(x * self.scale).abs().pow(self.power).mean((2, 3))


def key(module, **parameters):
    parameters = {"input_size": (3, 16, 16), "device": "cpu", **parameters}
    return TorchBackbone(module, **parameters).identity()


def hooked(factor):
    torch.manual_seed(0)
    module = small()
    module.register_forward_hook(lambda module, inputs, output: output * factor)
    return module


@pytest.mark.parametrize(
    "other",
    [{"power": 4}, {"layer": 2}, {"scale": -3.0}, {"act": torch.sin}],
    ids=lambda other: next(iter(other)),
)
def test_modules_are_known_by_what_they_compute(other):
    def make(**arguments):
        torch.manual_seed(0)
        return Hidden(**arguments)

    assert key(make(**other)) == key(make(**other)) != key(make())
    assert key(partial(Hidden, **other)) == key(partial(Hidden, **other)) != key(Hidden)
    assert key(hooked(2.0)) == key(hooked(2.0)) != key(hooked(-3.0))


def test_key_of_a_module_does_not_depend_on_threads():
    torch.manual_seed(0)
    # Sums over so many pixels are divided among threads, and rounded otherwise.
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 96 * 96, 2))
    before = torch.get_num_threads()
    keys = []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            keys.append(key(module, input_size=(3, 96, 96)))
            with one_torch_thread, ThreadPoolExecutor(1) as pool:
                keys.append(pool.submit(key, module, input_size=(3, 96, 96)).result())
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert keys[0] is not None
    assert keys == [keys[0]] * 6


class Noisy(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + torch.rand(3)


class Picky(torch.nn.Module):
    def forward(self, x):
        raise ValueError("not this")


def test_what_cannot_be_known_has_no_key():
    state = torch.get_rng_state()
    for module in (Noisy(), Noisy, Picky(), Picky):
        assert key(module) is None
    assert torch.equal(torch.get_rng_state(), state)


class Counting(torch.nn.Module):
    """A network that changes by what it is used for."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x.mean((2, 3)) + self.calls


def test_the_network_of_the_user_is_not_run():
    module = Counting()
    assert key(module) is None
    assert module.calls == 0
    assert module.training
