"""The primitives: what each means, once, for every part of the compiler."""
