"""The commands of `dslc`, each thin: options in, the driver, text out."""
