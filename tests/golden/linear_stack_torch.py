"""LinearStack, compiled by dslc 0.1.0 from linear_stack.dl."""

from torch import Tensor, nn


class LinearStack(nn.Module):
    """A stack of linear layers: without a non-linearity between them it computes what
    one layer computes. A. M. Saxe, J. L. McClelland and S. Ganguli, "Exact solutions
    to the nonlinear dynamics of learning in deep linear neural networks",
    arXiv:1312.6120. 2013. System: linear-stack. No biases.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.ModuleList([nn.Linear(8, 8, bias=False) for _ in range(3)])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in self.stack:
            nn.init.kaiming_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.stack:
            x = layer(x)
        return x
