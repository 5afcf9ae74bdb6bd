/*-------------------------------------------------------------------------
 *
 * tool_session.c
 *	  The session of a tool worker: its transactions, and whose rights they have.
 *
 * It is connected as the role, and as nobody else: whatever the code of a tool
 * does, now or when the transaction commits, it does with the rights of its own
 * session. Our tables are touched as their owner between tool_session_enter() and
 * store_leave(), when no code of the role can run: what the tool has deferred is
 * executed before.
 *
 * Only the code of the role may be cancelled, while it runs. What it leaves behind
 * in the session is removed before the next call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "core/clock.h"
#include "miscadmin.h"
#include "server/session_user.h"
#include "server/subtransaction.h"
#include "server/tool_slots.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "store/store_tools.h"
#include "tools/tool_session.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

ToolSession tool_session;

/* The timeout that ends the process TOOL_GRACE_MS after the others. */
static TimeoutId last_resort;

/*
 * The tool has been told to end, and has not.
 */
static void
end_process(void)
{
	(void) kill(MyProcPid, SIGTERM);
}

/*
 * This process, which is connected as the role, is a tool worker.
 */
void
tool_session_open(Oid role)
{
	session_user_pin(role);
	tool_session.role = role;
	tool_session.context = AllocSetContextCreate(TopMemoryContext,
												 "agno_bg tool call",
												 ALLOCSET_DEFAULT_SIZES);
	last_resort = RegisterTimeout(USER_TIMEOUT, end_process);
	MemoryContextSwitchTo(tool_session.context);
}

/*
 * Begin a transaction that may write, whatever the settings of the role say.
 */
void
tool_session_begin(void)
{
	/* Only tools may be cancelled. */
	QueryCancelHoldoffCount = 1;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(tool_session.context);
}

void
tool_session_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(tool_session.context);
}

/*
 * After an error, or to undo all.
 */
void
tool_session_undo(void)
{
	AbortCurrentTransaction();
	MemoryContextSwitchTo(tool_session.context);
}

/*
 * Act as the owner of our tables until store_leave(). The role's own wishes about
 * locks and plans do not count there.
 */
StoreUser
tool_session_enter(void)
{
	static const char *const settings[][2] = {
		{"lock_timeout", "0"},
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_indexscan", "on"},
		{"enable_nestloop", "on"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
	};
	StoreUser	user = store_enter();

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	return user;
}

/*
 * From here on the code of the role may be cancelled, by whoever may and after so many
 * milliseconds. If that does not end it, the process ends TOOL_GRACE_MS later, unless
 * tool_session_spare_process() comes first.
 */
void
tool_session_allow_cancel(int most)
{
	enable_timeout_after(STATEMENT_TIMEOUT, most);
	enable_timeout_after(last_resort, most + TOOL_GRACE_MS);
	QueryCancelHoldoffCount = 0;
}

/*
 * The code of the role has come to its end. Errors: query_canceled, if that came just
 * before.
 */
void
tool_session_end_cancel(void)
{
	CHECK_FOR_INTERRUPTS();
	QueryCancelHoldoffCount = 1;
	disable_timeout(STATEMENT_TIMEOUT, false);
}

void
tool_session_spare_process(void)
{
	disable_timeout(last_resort, false);
}

/*
 * Have work(arg) done in a subtransaction, which is undone if that returns false or
 * fails. Returns what went wrong, in tool_session.context, or NULL.
 */
ErrorData *
tool_session_try(bool (*work) (void *), void *arg)
{
	ErrorData  *volatile error = NULL;
	SubTransaction sub;

	MemoryContextSwitchTo(tool_session.context);
	sub = subtransaction_begin();
	PG_TRY();
	{
		bool		done = work(arg);

		subtransaction_end(&sub, done);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		QueryCancelHoldoffCount = 1;
		disable_timeout(STATEMENT_TIMEOUT, false);
		RESUME_INTERRUPTS();
		error = subtransaction_catch(&sub);
	}
	PG_END_TRY();
	QueryCancelPending = false;
	return error;
}

/*
 * There is something that has been put off for so many milliseconds.
 */
void
tool_session_look_again(int pause)
{
	int64		again = clock_now() + (pause + INT64CONST(1)) * US_PER_MS;

	if (tool_session.look_again_at == 0 || again < tool_session.look_again_at)
		tool_session.look_again_at = again;
}

/*
 * There was nothing to do at that time: find out what has been put off. What is due since
 * is due now.
 */
void
tool_session_find_put_off(TimestampTz then)
{
	StoreUser	user;
	TimestampTz next;

	tool_session_begin();
	user = tool_session_enter();
	next = store_next_put_off(tool_session.role, then);
	store_leave(user);
	tool_session_commit();
	if (next != 0)
		tool_session_look_again((int)
								TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
																next));
}

/*
 * Leave nothing of a call to the next one: neither settings, nor locks, nor
 * prepared statements, nor temporary tables. What a language keeps for itself
 * stays, but for nobody than its own role.
 */
void
tool_session_clean_up(void)
{
	Oid			temp;
	Oid			toast;

	ResetAllOptions();
	DropAllPreparedStatements();
	LockReleaseAll(USER_LOCKMETHOD, true);
	GetTempNamespaceState(&temp, &toast);
	if (!OidIsValid(temp) && GetUserId() == tool_session.role)
		return;

	tool_session_begin();
	(void) set_config_option("session_authorization", NULL, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	(void) set_config_option("role", NULL, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	if (OidIsValid(temp))
		ResetTempTableNamespace();
	tool_session_commit();
}
