"""What this package says about itself to operators: metrics and logs."""
