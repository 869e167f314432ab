"""The central side: trains an encoder once for everybody and packs it as a bundle.

Nothing in here goes onto a device; ``privsdk`` never imports it.
"""
