from torch import Tensor


def gradient_difference(output: Tensor, target: Tensor) -> Tensor:
    raise NotImplementedError
