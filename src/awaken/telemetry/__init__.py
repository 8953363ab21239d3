"""What this package reports of itself to operators: metrics and logs."""
