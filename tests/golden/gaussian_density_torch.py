"""Gaussian, compiled by dslc 0.1.0 from gaussian_density.dl."""

import torch
from torch import Tensor, nn


class Gaussian(nn.Module):
    """A multivariate Gaussian, fitted in closed form: the mean and the covariance of
    the data. C. F. Gauss, "Theoria motus corporum coelestium"; in several
    dimensions, A. Bravais, "Analyse mathématique sur les probabilités des erreurs".
    1846. System: gaussian-density. The covariance is L L^T and divides by N (maximum
    likelihood).
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(3))
        self.register_buffer("factor", torch.empty(3, 3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.eye_(self.factor)

    def log_prob(self, x: Tensor) -> Tensor:
        """-(z^T z + size log(2 pi)) / 2 - log det L, with L z = x - center."""
        z = torch.linalg.solve_triangular(self.factor, (x - self.center).T, upper=False)
        h = self.factor * torch.eye(3, dtype=x.dtype, device=x.device)
        diagonal = h.sum(dim=-1)
        return -0.5 * (z**2).sum(dim=0) - torch.log(diagonal).sum() - 2.7568157

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        h = torch.randn(
            1, 3, generator=generator, dtype=torch.float32, device=self.center.device
        )
        return self.center + h @ self.factor.T

    def fit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """In training the buffers become what was fitted."""
        N = x.shape[0]
        average = x.mean(dim=0)
        away = x - average
        covariance = away.T @ away / N
        if self.training:
            with torch.no_grad():
                self.center.copy_(average)
                self.factor.copy_(
                    torch.linalg.cholesky((covariance + covariance.mT) / 2)
                )
        return average, covariance
