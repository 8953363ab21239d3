"""The two test suites that the specifications were written from, test by test, with the entries that say the same.

The newer suite has 177 tests, one for each of the rows MBX-001 to MBX-177. The older has 119 of the same names, which
show the same or less: it knows no events of the queue, and has a run without its dispatch between two writes. Where the
two differ, the newer one counts.

    python -m tests.behaviour.reference_suites     prints each with its entries and the tests that stand behind them

Above: `test_reference_suites`, which holds this list to the ledger.
Below: the ledger, which says of every entry what kind it is and why, and the marks, which say which tests show it.
Holds: a test is named once. What became of it is said by its entries, and nowhere a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from tests.behaviour.ledger import KINDS, Built, CannotOccur, Entry, Later, Ledger, NotInPackage, Same


class Case(msgspec.Struct, frozen=True):
    """A test of the reference."""

    name: str
    ids: tuple[str, ...]
    """The entries, first the row that was written from this test."""
    is_older: bool
    """Whether the older suite has it too."""
    shows: str = ""
    """What it shows, where the name does not say."""


def newer(name: str, *ids: str, shows: str = "") -> Case:
    """A test that only the newer suite has."""
    return Case(name, ids, False, shows)


def both(name: str, *ids: str, shows: str = "") -> Case:
    """A test that both suites have."""
    return Case(name, ids, True, shows)


def lines(cases: Sequence[Case], ledger: Ledger, marked: Mapping[str, list[str]]) -> Iterator[str]:
    """Each case, its entries, and the tests that show these."""
    for case in cases:
        yield f"{case.name}{' (both)' if case.is_older else ''}{f': {case.shows}' if case.shows else ''}"
        for each in case.ids:
            row = ledger.rows[each]
            entry = ledger.entry(each)
            yield f"  {each}, {KINDS[type(entry)]}: {_said_by(entry)}"
            yield from (f"    {test}" for test in marked.get(row.as_ if isinstance(row, Same) else each, ()))


def _said_by(entry: Entry) -> str:
    match entry:
        case Built(sentence=text, note=note):
            return f"{text} {note}".rstrip()
        case CannotOccur(reason=text) | NotInPackage(reason=text):
            return text
        case Later(sentence=text, by=wing):
            return f"{text} With {wing}."


CASES: Final = (
    newer("try_with_pinned_registry_rejects_invalid_scope", "MBX-043", shows="A blank name of a registry is refused."),
    newer("materialize_pinned_registry_rejects_invalid_resolution_id", "MBX-044"),
    both(
        "mailbox_config_defaults",
        "MBX-001",
        shows="Leases, intervals, retention, attempts and back-off, where nothing is set.",
    ),
    both(
        "dispatch_signal_blocked_nack_delay_backs_off_and_caps",
        "MBX-005",
        shows="A signal for a busy thread comes again after 0.5 s, then later, at most 30 s.",
    ),
    both(
        "mailbox_lifecycle_config_defaults",
        "MBX-003",
        shows="No delay, one try to recover, nobody to call on the rounds.",
    ),
    both(
        "start_lifecycle_ready_fails_when_startup_recovery_fails",
        "MBX-111",
        shows="The error is the caller's, and nothing runs.",
    ),
    both(
        "start_lifecycle_ready_retries_startup_recovery_until_ready",
        "MBX-112",
        shows="The second try succeeds, and what was queued is executed.",
    ),
    newer(
        "reconstruct_failure_dead_letters_once_without_repolling",
        "MBX-068",
        shows="The message that the run was asked with is gone.",
    ),
    newer("terminal_run_is_not_redispatched_by_recovery", "MBX-124", shows="It names a dispatch that does not exist."),
    newer("run_gc_auto_vacuums_old_terminal_dispatches", "MBX-125"),
    newer("permanent_inference_error_dead_letters_after_single_run", "MBX-072"),
    newer(
        "transient_inference_error_nacks_for_retry",
        "MBX-073",
        shows="It is queued with one attempt spent and the provider's words.",
    ),
    newer("reconstruct_failure_missing_run_dead_letters_once", "MBX-069"),
    newer("run_sweep_reclaims_expired_lease_and_completes_work", "MBX-126"),
    newer("quota_storm_drains_with_bounded_work", "MBX-074", shows="50 threads, 50 executions, 50 dead letters."),
    newer(
        "permanent_error_recovers_from_transient_dead_letter_fault",
        "MBX-075",
        shows="The store refuses the first dead letter.",
    ),
    newer("concurrent_same_thread_submits_do_not_lose_messages", "MBX-055"),
    newer("cross_instance_concurrent_submits_do_not_lose_messages", "MBX-056"),
    both("start_lifecycle_ready_serializes_concurrent_recovery", "MBX-113"),
    both(
        "start_lifecycle_does_not_bypass_ready_transition",
        "MBX-114",
        shows="A second start during a slow one does not overtake it.",
    ),
    both(
        "start_lifecycle_is_idempotent_and_drop_does_not_abort_recovery",
        "MBX-115",
        shows="Queued work is executed although nobody holds the start any more.",
    ),
    both("start_lifecycle_explicit_abort_allows_restart", "MBX-116"),
    both("maintenance_callback_runs_on_gc_tick", "MBX-122"),
    both("start_lifecycle_handle_drop_keeps_lifecycle_running", "MBX-117"),
    both("lifecycle_shutdown_waits_for_maintenance_to_quiesce", "MBX-123"),
    both("concurrent_start_lifecycle_is_idempotent", "MBX-118"),
    both(
        "start_lifecycle_runs_startup_recovery_for_existing_queued_dispatches",
        "MBX-119",
        shows="The error of the run is kept with its dispatch.",
    ),
    both("start_lifecycle_reclaims_expired_claimed_dispatches_and_executes_them", "MBX-120"),
    newer(
        "multi_instance_ready_lifecycle_executes_shared_dispatch_once",
        "MBX-121",
        shows="Two mailboxes start on one store.",
    ),
    both("dispatch_signal_loop_claims_and_executes_queued_dispatch", "MBX-140"),
    both("dispatch_signal_loop_nacks_and_redelivers_after_claim_error", "MBX-141"),
    both(
        "dispatch_signal_loop_nacks_when_signal_is_blocked_by_active_claim",
        "MBX-142",
        shows="What is queued behind another consumer's claim is executed after that.",
    ),
    both("run_request_fields", "MBX-017", shows="What was asked, and where it comes from when nobody says."),
    both("run_spec_validation_empty_messages_errors", "MBX-018"),
    both("run_spec_validation_allows_decision_only_resume", "MBX-019"),
    both("run_spec_validation_blank_thread_id_generates_new", "MBX-020"),
    both("run_spec_validation_trims_thread_id", "MBX-021"),
    both("dispatch_status_enum_variants", "MBX-013"),
    both(
        "mailbox_construction_depends_on_runtime_boundary_not_agent_runtime",
        "MBX-030",
        shows="Anything that can execute a run will do.",
    ),
    both("submit_background_enqueues_dispatch", "MBX-057"),
    both(
        "submit_background_delivers_scheduled_policy_context",
        "MBX-058",
        shows="The execution is told its mode, its adapter and its dispatch.",
    ),
    both(
        "prepare_run_for_dispatch_precreates_created_run_and_thread_projection",
        "MBX-034",
        shows="The run names its messages by id, and is the open run of its thread.",
    ),
    newer("prepare_run_for_dispatch_persists_resolved_resolution_id", "MBX-035"),
    newer("prepare_run_for_dispatch_uses_explicit_resolution_id_hint", "MBX-036"),
    newer("materialize_pinned_registry_set_fails_closed_for_missing_numeric_snapshot", "MBX-045"),
    both(
        "prepare_run_for_dispatch_inherits_previous_runtime_state",
        "MBX-037",
        "TR-027",
        shows="The agent and the state are those of the run before.",
    ),
    both("cancel_queued_dispatch_works", "MBX-100", shows="Dispatch, run, event and counts."),
    both("list_dispatches_returns_entries", "MBX-061"),
    both("mailbox_error_display", "MBX-010", shows="The class of an error shows in its text."),
    both("mailbox_submit_result_fields", "MBX-012"),
    both(
        "suspension_aware_sink_sets_flag_on_suspended_tool_call",
        "MBX-067",
        shows="An execution is known to wait from the call that waits to its answer.",
    ),
    both("classify_error_ok_is_completed", "MBX-085"),
    both("classify_error_thread_already_running_is_permanent", "MBX-086"),
    both("classify_error_agent_not_found_is_permanent", "MBX-087"),
    both("classify_error_resolve_failed_is_permanent", "MBX-088"),
    both("classify_error_storage_error_is_transient", "MBX-089"),
    both("classify_error_inference_failed_is_transient", "MBX-090"),
    newer("classify_error_invalid_activation_is_permanent", "MBX-091"),
    newer("classify_error_permanent_inference_error_is_permanent", "MBX-092"),
    newer("classify_error_context_overflow_is_permanent", "MBX-093"),
    newer("classify_error_model_not_found_is_permanent", "MBX-094"),
    newer("classify_error_transient_inference_error_is_transient", "MBX-095"),
    newer("classify_error_covers_all_inference_variants", "MBX-096", shows="Eleven kinds."),
    both("classify_error_phase_error_is_completed", "MBX-097", shows="The agent ends its own run."),
    both("classify_error_invalid_resume_is_completed", "MBX-098", shows="The agent ends its own run."),
    newer("classify_error_always_agrees_with_is_retryable", "MBX-099"),
    both("validate_run_inputs_preserves_normal_thread_id", "MBX-022"),
    both("validate_run_inputs_multiple_messages", "MBX-023"),
    both("validate_run_inputs_empty_string_generates_uuid", "MBX-024"),
    both("mailbox_config_custom_values", "MBX-002"),
    both(
        "build_dispatch_sets_correct_fields", "MBX-032", shows="Queued, no attempt spent, default priority, nobody's."
    ),
    both("build_dispatch_requires_prepared_run_id", "MBX-033"),
    both("prepare_run_preserves_request_extras_on_run_snapshot", "MBX-038", shows="A tool of the client."),
    both("run_request_extras_serde_roundtrip", "MBX-025"),
    both("run_request_extras_empty_returns_none", "MBX-026"),
    both(
        "run_request_extras_apply_to_request",
        "MBX-027",
        shows="Tools, ids, parent, mode and adapter arrive where they belong.",
    ),
    both("prepare_run_round_trips_parent_thread_id", "MBX-039"),
    both("prepare_run_preserves_origin_metadata", "MBX-040"),
    both("prepare_run_defaults_origin_to_user", "MBX-042"),
    both("mailbox_error_store_variant", "MBX-011", shows="Errors of the store are told from others."),
    both("mailbox_run_outcome_debug", "MBX-015", shows="An outcome shows its message."),
    both("mailbox_run_outcome_metric_labels_are_stable", "MBX-016"),
    both("mailbox_execution_records_dispatch_latency_metrics", "MBX-065"),
    both(
        "mailbox_lease_renewal_is_wired_and_prevents_reclaim",
        "MBX-066",
        shows="The lease of a blocked run grows, and a sweep finds nothing.",
    ),
    both("background_success_records_run_result_and_keeps_dispatch_id_separate_from_run_id", "MBX-062"),
    newer(
        "background_success_recovers_ack_after_result_was_recorded", "MBX-063", shows="The store refuses the first ack."
    ),
    both(
        "background_permanent_error_records_run_result_before_dead_letter",
        "MBX-064",
        "MB-082",
        shows="The agent does not exist.",
    ),
    both(
        "reconstruct_failure_cleans_worker_and_dispatches_next_queued",
        "MBX-070",
        shows="A dispatch without a run does not hold up the next.",
    ),
    newer("reconstruct_failure_dead_letters_once_and_is_not_polled_again", "MBX-071"),
    both("dispatch_status_queued_zero", "MBX-014", shows="Two values, told apart."),
    both("interrupt_bumps_dispatch_epoch", "MBX-101"),
    both("interrupt_marks_superseded_queued_runs_cancelled", "MBX-102"),
    newer(
        "runtime_event_capture_records_run_interrupted_on_thread_interrupt",
        "MBX-169",
        shows="The run, its dispatch, and that it stays claimed.",
    ),
    newer(
        "runtime_event_capture_records_run_rescheduled_on_retry_backoff",
        "MBX-170",
        shows="Reason, attempts, and when it is due.",
    ),
    newer(
        "runtime_event_capture_records_run_rescheduled_on_expired_lease_reclaim",
        "MBX-171",
        shows="Reason and attempts.",
    ),
    both("foreground_submit_marks_prior_queued_run_cancelled", "MBX-103"),
    both(
        "submit_inline_claim_empty_cancels_precreated_run",
        "MBX-079",
        shows="A streamed submit that wins no claim is refused, and its run is cancelled.",
    ),
    both("recover_reconciles_terminal_cancelled_and_superseded_dispatches_after_crash", "MBX-108"),
    both("reclaim_dead_letter_marks_run_error", "MBX-109"),
    both("sweep_reconciles_dead_letter_dispatch_after_crash", "MBX-110"),
    both(
        "submit_returns_event_channel",
        "MBX-060",
        shows="A streamed submit answers with its ids and something to read from.",
    ),
    newer("runtime_event_capture_disabled_clears_prior_capture_and_skips_origin_validation", "MBX-160"),
    newer(
        "runtime_event_capture_compacted_persists_committed_events_and_keeps_live_deltas",
        "MBX-162",
        shows="The kinds in order, all of one run and dispatch.",
    ),
    newer(
        "recover_repairs_thread_message_checkpoint_events_from_committed_log",
        "MBX-174",
        shows="Repaired twice, there once.",
    ),
    newer("maintenance_drain_republishes_enqueued_checkpoint_repair", "MBX-175"),
    newer("maintenance_drain_requeues_checkpoint_repair_when_messages_missing", "MBX-176"),
    newer(
        "checkpoint_event_recording_rejects_out_of_range_message_seq",
        "MBX-177",
        shows="Of two messages one is not there: none is reported.",
    ),
    newer("runtime_event_capture_maps_continue_run_start_to_run_resumed", "MBX-163"),
    newer(
        "runtime_event_capture_live_forwarding_is_not_gated_by_staging",
        "MBX-164",
        shows="Start, text, call and end are seen, in order.",
    ),
    newer(
        "runtime_event_capture_persists_server_authored_terminal_errors",
        "MBX-165",
        shows="The kinds of a run that fails for good, in order; the reader sees the end.",
    ),
    newer(
        "runtime_event_capture_records_mailbox_dispatch_lifecycle_events",
        "MBX-166",
        shows="The kinds in order; the seq and kind of the message; the dispatch.",
    ),
    newer(
        "runtime_event_capture_records_mailbox_submit_failed_on_enqueue_error",
        "MBX-167",
        shows="A message without a run stays, and an event says why.",
    ),
    newer(
        "runtime_event_capture_records_mailbox_resume_failed_on_enqueue_error",
        "MBX-168",
        shows="A decision that could not be queued is told with its content.",
    ),
    newer("advisory_server_event_publish_failure_does_not_block_live_terminal_event", "MBX-173"),
    both(
        "live_then_queue_steers_active_run_without_new_dispatch",
        "MBX-144",
        "SRV-013",
        shows="The model reads it with its next turn; it is stored once.",
    ),
    both(
        "live_then_queue_falls_back_to_durable_dispatch_when_receiver_unavailable",
        "MBX-145",
        shows="The execution takes no messages.",
    ),
    both("foreground_submit_sends_live_cancel_for_remote_active_dispatch", "MBX-104"),
    both("foreground_submit_does_not_prepare_replacement_when_remote_cancel_times_out", "MBX-105"),
    both(
        "foreground_submit_does_not_prepare_replacement_when_local_cancel_times_out",
        "MBX-106",
        shows="A conflict, and nothing written but the event that says how long it waited.",
    ),
    both(
        "foreground_submit_waits_for_local_cancelled_dispatch_to_release_claim",
        "MBX-107",
        shows="The execution has ended and the claim is still held: a conflict, nothing written.",
    ),
    newer(
        "live_then_queue_wakes_local_active_pending_run",
        "MBX-146",
        "MBX-258",
        shows="One record is pending, and its run is woken once.",
    ),
    both("live_then_queue_publishes_for_remote_active_run", "MBX-147"),
    newer("live_then_queue_wakes_remote_active_pending_run", "MBX-148"),
    both("live_then_queue_falls_back_when_subscriber_drops_receipt", "MBX-149"),
    both(
        "live_then_queue_is_at_least_once_when_ack_lost",
        "MBX-150",
        shows="It was consumed, and is queued all the same.",
    ),
    both("live_then_queue_rejects_remote_mismatched_expected_run_id", "MBX-151"),
    both("send_decision_live_delivers_to_remote_waiting_run", "MBX-154"),
    newer(
        "runtime_event_capture_records_mailbox_decision_received",
        "MBX-172",
        shows="One event for the decision and one for the permission.",
    ),
    both("live_then_queue_falls_back_to_queue_when_no_remote_subscriber", "MBX-152"),
    both("waiting_thread_is_reactivated_by_incoming_message", "MBX-155"),
    both("structured_user_input_waiting_thread_is_reused_by_incoming_message", "MBX-156"),
    both(
        "reusable_waiting_run_prefers_thread_open_run_projection_over_latest_run",
        "MBX-049",
        shows="Of two runs that wait the thread says which is continued.",
    ),
    both("recover_only_enqueues_orphaned_background_task_waiting_runs", "MBX-130"),
    newer("recover_pages_orphaned_background_task_waiting_runs", "MBX-131", shows="205 of them."),
    newer(
        "recover_reconstructs_dispatch_for_prepared_run_missing_wal",
        "MBX-132",
        shows="The process died between the run and its dispatch.",
    ),
    newer("recover_reconstructs_dispatch_for_prepared_waiting_resume_missing_wal", "MBX-133"),
    newer("recover_prepared_runs_collects_before_enqueue_to_avoid_offset_skips", "MBX-134", shows="250 of them."),
    newer("distributed_claim_same_dispatch_allows_exactly_one_consumer", "MBX-136"),
    newer("distributed_expired_lease_reclaim_rejects_late_old_owner_ack", "MBX-137"),
    newer("distributed_lease_reclaim_uses_strict_expiry_boundary", "MBX-138"),
    newer("distributed_nack_retry_window_respects_retry_at_boundary", "MBX-139"),
    newer("distributed_recover_prepared_run_missing_wal_is_idempotent_across_instances", "MBX-135"),
    both(
        "background_task_completion_should_enqueue_internal_wake_message",
        "MBX-157",
        shows="What was done comes as an internal message of a user.",
    ),
    both("send_decision_unknown_id_returns_false", "MBX-153"),
    both("concurrent_submit_background_same_thread_only_one_runs", "MBX-076"),
    both("concurrent_submit_same_thread_only_one_claims", "MBX-077", shows="Streamed submits: at least one succeeds."),
    both(
        "interrupt_between_claim_and_execution_supersedes_without_runtime_start",
        "MBX-081",
        shows="The claim is given up before the agent begins.",
    ),
    both(
        "dispatch_signal_busy_ack_still_runs_queued_dispatch_after_current_finishes",
        "MBX-143",
        shows="What is queued behind the mailbox's own run needs no further signal.",
    ),
    both("submit_background_returns_correct_status", "MBX-059"),
    both(
        "worker_status_not_corrupted_after_empty_claim",
        "MBX-080",
        shows="A look that finds nothing leaves a busy worker busy.",
    ),
    both("run_request_extras_corrupt_json_returns_error", "MBX-028"),
    both(
        "submit_inline_claim_fails_when_thread_already_claimed",
        "MBX-078",
        shows="It succeeds or is refused; one run is claimed at most.",
    ),
    both("reconnect_sink_returns_false_for_idle_worker", "MBX-082"),
    both("reconnect_sink_returns_false_for_unknown_thread", "MBX-083"),
    both("reconnect_sink_succeeds_for_running_worker", "MBX-084"),
    both("build_dispatch_extras_roundtrip_with_decisions", "MBX-029", "TK-076"),
    both("prepare_run_origin_a2a_roundtrip", "MBX-041"),
    both("inline_claim_guard_is_reasonable", "MBX-004", shows="60 s between storing a run and its being anybody's."),
    both("nack_backoff_progression", "MBX-006"),
    both("nack_backoff_caps_at_max", "MBX-007"),
    both("nack_backoff_zero_attempt_is_base_delay", "MBX-008"),
    both("nack_backoff_high_attempt_stays_capped", "MBX-009"),
    both(
        "gc_idle_workers_removes_idle_with_no_dispatches",
        "MBX-127",
        shows="What stands for a thread is forgotten when it has nothing to do.",
    ),
    both("gc_idle_workers_keeps_worker_with_queued_dispatches", "MBX-128"),
    both("gc_idle_workers_noop_when_empty", "MBX-129"),
    both("thread_context_cache_used_by_reusable_waiting_run_id", "MBX-046", shows="A run that waits is continued."),
    both(
        "thread_context_cache_updated_after_prepare_checkpoint",
        "MBX-050",
        shows="What is kept of a conversation grows with it.",
    ),
    both("prepare_run_falls_back_to_store_without_cache", "MBX-051"),
    both(
        "prepare_run_uses_durable_messages_when_active_cache_is_stale",
        "MBX-052",
        shows="What the running run has said meanwhile is not overwritten.",
    ),
    both("reusable_waiting_run_id_ignores_stale_worker_cache", "MBX-047"),
    both(
        "thread_context_cache_cleared_on_idle_transition",
        "MBX-053",
        shows="What is kept of a conversation goes when its thread is idle.",
    ),
    both("thread_context_load_populates_run_cache", "MBX-054", shows="Messages and runs are known after a read."),
    both("reusable_waiting_run_id_returns_none_for_done_cached_run", "MBX-048"),
    newer(
        "wrap_dispatch_with_buffer_stages_into_buffer_not_writer",
        "MBX-161",
        shows="An event waits for the commit of its run.",
    ),
    newer("runtime_event_capture_requires_commit_coordinator", "MBX-158"),
    newer("runtime_event_capture_requires_staged_commit_coordinator", "MBX-159"),
    newer(
        "mailbox_try_new_rejects_coordinator_run_store_mismatch",
        "MBX-031",
        shows="Runs and commits in two stores are refused.",
    ),
)


if __name__ == "__main__":
    from tests.behaviour.ledger import LEDGER
    from tests.behaviour.marks import marks

    print(*lines(CASES, LEDGER, marks()), sep="\n")
