"""What every room stands on: arguments, notices, state that is shared, locks over forks."""
