"""What every store must do, as plain functions: each takes an empty store and the clock that store was given.

Above: `awaken.testing.plugin` finds them and hands them to pytest; it shows how to hold a store of your own to them.
Below: only the contract in `awaken.store`; a case knows nothing about the store it is given.
Holds: every function of this package that is called `test_*` is a case, so a new one reaches every store unasked.
"""
