"""Loss terms on tensors: adversarial, gradient penalty, pixel, perceptual."""
