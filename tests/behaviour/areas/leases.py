"""How long a claim holds, and who takes it back."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "claims and leases",
    built("MB-089", sentence="A renewal counts from now and not from the old end."),
    built("MB-090", sentence="A wrong token renews nothing."),
    built("MB-091", sentence="Only a claimed dispatch has a lease to renew."),
    built("MB-092", sentence="An owner whose lease ended unnoticed still owns."),
    built("MB-120", sentence="An expired lease returns the dispatch and spends an attempt."),
    built("MB-121", sentence="A lease ending now still holds."),
    built("MB-122", sentence="The last attempt that expires ends in the dead letters."),
    built("MB-123", sentence="Two sweeps at once never report the same claim."),
    built("MB-124", sentence="A reclaimed dispatch ignores its old owner."),
    built("MB-126", sentence="A sweep takes no more than its limit and says that more remain."),
    built("MB-128", sentence="Reclaimed work is claimable at the same instant."),
    built("MB-129", sentence="A clock that goes back takes nothing away."),
    built("MB-130", sentence="A requeue by expiry keeps the error before it."),
    cannot("MB-132", because="A result is never recorded without its settlement, so no expiry can wipe one."),
    built("MB-133", sentence="The longest expired lease comes first."),
    built(
        "MBX-066",
        sentence="A lease grows while its run executes and is never reclaimed.",
        note="Lease and renewal on a manual clock.",
    ),
    built(
        "MBX-109",
        sentence="A lone suspect whose process dies in its last attempt ends the run in error.",
        note="The row charges every expired claim; here a death counts as a crash until two of them make a suspect.",
    ),
    built(
        "MBX-126",
        sentence="A claim that expires while the mailbox lives is swept and completed.",
        note="It has cost no attempt: a death counts as a crash.",
    ),
    built("MBX-137", sentence="A late owner can settle nothing."),
    built("MBX-138", sentence="A lease that ends exactly now still holds."),
    built("MBX-139", sentence="A retry is due exactly at its instant."),
    same("SV-001", as_="MBX-126"),
    same("SV-002", as_="MBX-109"),
    same("SV-025", as_="MBX-066"),
    same("MBX-067", as_="TK-050"),
)
