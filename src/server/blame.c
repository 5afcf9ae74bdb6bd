/*-------------------------------------------------------------------------
 *
 * blame.c
 *	  Which run a process was at when it crashed: a runner, or a tool worker.
 *
 * A run may bring its runner down, and everything else that was in flight with
 * it. Its successor must know which run that was: else it would start it over
 * and over again, or give up runs that have only been near it.
 *
 * What a tool that brings its process down costs is for the runner of its run to
 * say, which looks for that when it starts.
 *
 * So a runner keeps the id of the run that it is at in a file that it has
 * mapped into its memory, where writing costs next to nothing, and where a
 * crash of the process leaves it to be found. Shared memory would not do: the
 * postmaster clears it after a crash. The file is in pg_stat_tmp, which is not
 * part of a backup; if it cannot be had, with all the room that it takes, nobody
 * is blamed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/id.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "server/blame.h"
#include "storage/fd.h"

/* What is in the file. */
typedef struct Blame
{
	bool		set;			/* run_id is valid */
	char		run_id[ID_SIZE];
} Blame;

/* The mapped file, or NULL; for the life of the process. */
static volatile Blame *blame;
static char path[MAXPGPATH];

static void
make_path(char *out, int number)
{
	snprintf(out, MAXPGPATH, PG_STAT_TMP_DIR "/agno_bg_%u_%d", MyDatabaseId,
			 number);
}

/*
 * The run that another process of this database, which is not there any more, was
 * at when it crashed, or NULL: tells it once.
 */
char *
blame_take(int number)
{
	Blame		found = {0};
	char		other[MAXPGPATH];
	int			fd;
	char	   *culprit = NULL;

	make_path(other, number);
	fd = OpenTransientFile(other, O_RDONLY | PG_BINARY);
	if (fd < 0)
		return NULL;
	if (read(fd, &found, sizeof(found)) == sizeof(found) && found.set)
		culprit = pnstrdup(found.run_id, sizeof(found.run_id) - 1);
	CloseTransientFile(fd);
	(void) unlink(other);
	return culprit;
}

/*
 * Map the file of the runner of this database with this number, which is
 * this process. Returns the run that the last one was at when it crashed, or
 * NULL.
 */
char *
blame_open(int number)
{
	int			fd;
	void	   *memory = MAP_FAILED;
	char	   *culprit = NULL;

	make_path(path, number);
	fd = OpenTransientFile(path, O_RDWR | O_CREAT | PG_BINARY);
	if (fd >= 0)
	{
		/* Were there no room, a page of a hole would be a SIGBUS. */
		int			problem = posix_fallocate(fd, 0, sizeof(Blame));

		if (problem != 0)
			errno = problem;
		else
			memory = mmap(NULL, sizeof(Blame), PROT_READ | PROT_WRITE,
						  MAP_SHARED, fd, 0);
		CloseTransientFile(fd);
	}
	if (memory == MAP_FAILED)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not map file \"%s\": %m", path),
				 errdetail("A run that crashes its worker will not be told from those that are executed with it.")));
		return NULL;
	}
	blame = memory;
	if (blame->set)
		culprit = pnstrdup(((Blame *) memory)->run_id,
						   sizeof(blame->run_id) - 1);
	blame->set = false;
	return culprit;
}

/*
 * From here on the runner is at this run.
 */
void
blame_begin(const char *run_id)
{
	if (blame == NULL)
		return;
	strlcpy((char *) blame->run_id, run_id, sizeof(blame->run_id));
	pg_compiler_barrier();
	blame->set = true;
}

/*
 * It is done with it.
 */
void
blame_end(void)
{
	if (blame != NULL)
		blame->set = false;
}

/*
 * The runner ends as it should: there is nobody to blame.
 */
void
blame_close(void)
{
	if (blame != NULL)
		(void) unlink(path);
}
