"""Every figure that is promised of the faces bundle, measured on CelebA's test partition."""
