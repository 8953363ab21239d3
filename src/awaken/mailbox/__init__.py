"""The queue service: accepts runs, hands them to executors, keeps their leases, settles and recovers them."""
