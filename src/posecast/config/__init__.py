"""Every setting once; recipes; a file and flags laid on them."""
