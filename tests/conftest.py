import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def global_generator_is_untouched():
    """Randomness comes from Noise or from a Generator of one's own, never from the global one."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "this code drew from the global generator"
