"""The commands, a module for each handful; imported only when one of them runs."""
