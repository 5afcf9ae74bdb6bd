# What runs with the rights of the tables' owner calls nothing of a user's. The
# role a, which has no more than agno_grant_usage, puts domains, types with
# casts, functions, aggregates, operators and views with the names of PostgreSQL's
# own into its temporary schema and into schemas of its own that come first on
# its search_path, and then calls everything there is to be called. Each of them
# writes a line into the server's log, which no rollback takes back, when it is
# called with other rights than a's, and makes a superuser of a. The search_path
# of the user is what it was afterwards, also after errors. And no name in the SQL
# of agno_bg leaves its schema open.

use strict;
use warnings;
use File::Find;
use FindBin;
use List::Util qw(uniq);
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

#-------------------------------------------------------------------------
# No name is left open
#-------------------------------------------------------------------------

my $root = "$FindBin::Bin/../..";

# The types whose names the grammar itself takes for those of pg_catalog.
my $grammar_type = qr{(?:
	(?i:boolean | bigint | int | integer | smallint | real | numeric | decimal
	| double\s+precision | interval | float | bit
	| character\s+varying | varchar | character | char | national\s+character
	| timestamp | time)\b
	(?:\s*\([^()]*\))? (?:\s+with(?:out)?\s+time\s+zone)?)}xi;
my $type = qr{(?: (?:pg_catalog|agno|\@extschema\@) \s*\.\s* "?\w+"?
	| $grammar_type) (?:\s*\(\s*\d+(?:\s*,\s*\d+)?\s*\))? (?:\s*\[\s*\])*
	(?![\w."])}x;

# What is followed by a parenthesis and calls no function that has to be looked
# for.
my %construct = map { $_ => 1 } qw(
  all and any array as by case cast check coalesce conflict default distinct else
  end enum except exclude execute exists extract false filter foreign from
  greatest group having identity in include inout insert intersect into is join
  key lateral least limit materialized not offset on only operator options or order
  out over partition primary references restrict returning row select
  set some table then trim true union unique update using values variadic
  when where window with within);

# Replace what is between quotation marks, and comments, by nothing of interest.
sub without_literals
{
	my ($sql) = @_;
	$sql =~ s{(--[^\n]*|/\*.*?\*/)|('(?:[^']|'')*')}{defined $1 ? ' ' : "''"}gse;
	return $sql;
}

# The parts of a list, at its commas outside of parentheses.
sub parts
{
	my ($list) = @_;
	my ($depth, $part, @parts) = (0, '');

	foreach my $char (split //, $list)
	{
		$depth++ if $char =~ /[(\[]/;
		$depth-- if $char =~ /[)\]]/;
		if ($char eq ',' && $depth == 0)
		{
			push @parts, $part;
			$part = '';
			next;
		}
		$part .= $char;
	}
	push @parts, $part;
	return grep { $_ ne '' } map { s/^\s+|\s+$//gr } @parts;
}

my $parentheses = qr{(\((?:[^()]++|(?-1))*+\))}x;

# A type after ::, or in a CAST, in text without literals.
sub open_casts
{
	my ($sql) = @_;
	my @open;

	while ($sql =~ /::\s*/g)
	{
		my $rest = substr($sql, pos $sql);
		push @open, '::' . substr($rest, 0, 30) unless $rest =~ /^$type/;
	}
	while ($sql =~ /\bCAST\s*$parentheses/gi)
	{
		my ($inner) = $1 =~ /^\((.*)\)$/s;
		push @open, "CAST ($inner)" unless $inner =~ /\bAS\s+$type\s*$/i;
	}
	return @open;
}

# The type of each column, or of each argument, of a list.
sub open_columns
{
	my ($list) = @_;
	my @open;

	foreach my $part (parts($list))
	{
		next
		  if $part =~ /^(?:CONSTRAINT|PRIMARY|UNIQUE|CHECK|EXCLUDE|FOREIGN|LIKE)\b/;
		$part =~ s/^(?:INOUT|IN|OUT|VARIADIC)\s+//i;
		push @open, $part
		  unless $part =~ /^$type(?:\s*$|\s+DEFAULT\b)/
		  || $part =~ /^(?!pg_catalog\.)"?\w+"?\s+$type/;
	}
	return @open;
}

# Functions and operators that would be looked for in the search_path.
sub open_calls
{
	my ($sql) = @_;
	my @open;

	# What is no expression.
	$sql =~ s/OPERATOR\s*\(\s*pg_catalog\.[^)]*\)/ /gi;
	$sql =~ s/\@extschema\@/extschema/g;
	$sql =~ s/\bWITH\s*\(\s*\w+\s*=[^)]*\)/ /gi;
	$sql =~ s/=>|:=/ /g;
	$sql =~ s/\b(?:ERRCODE|MESSAGE|DETAIL|HINT)\s*=(?=\s)/ /g;
	$sql =~ s/\bSET\s+[\w.]+\s*=(?=\s)/ /gi;
	$sql =~ s/(SELECT|\(|\.)\s*\*(?=\s*(?:\)|,|\s|;|$))/$1 /gi;
	$sql =~ s/::\s*/ /g;

	while ($sql =~ /(\S*\s*)(?<![\w."\$])([A-Za-z_]\w*)\s*\(/g)
	{
		my ($before, $name) = ($1, $2);
		next if $construct{ lc $name } || $name =~ /^$grammar_type$/;
		# an alias, and the names of its columns
		next if $before =~ /\bAS\s+$/i || $before =~ /\)\s+$/;
		next if $before =~ /[.]\s*$/;
		push @open, "$name(";
	}
	while ($sql =~ m{((?:\S+\s+)?)([-+*/<>=~!\@#%^&|?]+)(\s*\S*)}g)
	{
		my ($left, $operator, $right) = ($1, $2, $3);
		next if $operator eq '-' && $right =~ /^\d/;
		push @open, "$left$operator$right";
	}
	# These look for an operator as well.
	push @open, $1
	  while $sql =~ /\b((?:I?LIKE|SIMILAR\s+TO|BETWEEN|NULLIF|IS\s+(?:NOT\s+)?DISTINCT\s+FROM)\b.{0,20})/gsi;
	push @open, $1 while $sql =~ /(\bIN\s*\((?!\s*SELECT).{0,20})/gsi;
	push @open, $1 while $sql =~ /(\bCASE\s+(?!WHEN\b).{0,20})/gsi;
	push @open, $1 while $sql =~ /\b(JOIN\b[^;]*?\bUSING\s*\(.{0,20})/gsi;
	return @open;
}

# UPDATE … SET and DO UPDATE SET assign; they compare nothing.
sub without_assignments
{
	my ($sql) = @_;

	$sql =~ s{\bSET\s+(?!search_path)((?:[^()]|$parentheses)*?)
		(?=\bWHERE\b|\bFROM\b|\bRETURNING\b|;|\)|$)}{
			' SET ' . join(', ', map { s/^[\w.]+\s*=//r } parts($1)) . ' '
		}gsexi;
	return $sql;
}

# The pieces of SQL in the strings of a C file: what is written one after the
# other belongs together, with macros between.
sub strings_of
{
	my ($file) = @_;
	my $c = slurp_file($file);
	my @strings;

	$c =~ s{("(?:[^"\\]|\\.)*")|/\*.*?\*/}{$1 // ' '}gse;
	$c =~ s/^\s*#\s*include.*$//gm;
	$c =~ s/\\\n/\n/g;
	while ($c =~ /((?:"(?:[^"\\]|\\.)*"(?:\s|\b[A-Z_]+\b(?:\((?:[^()"]|"(?:[^"\\]|\\.)*")*\))?)*)+)/g)
	{
		my $sql = '';
		my $run = $1;
		$sql .= $1 while $run =~ /"((?:[^"\\]|\\.)*)"/g;
		$sql =~ s/\\"/"/g;
		$sql =~ s/\\n/\n/g;
		push @strings, $sql;
	}
	return @strings;
}

# The first few of what was found.
sub some
{
	my @all = @_;
	return join("\n", @all > 20 ? (@all[0 .. 19], '...') : @all);
}

is( join(' ', map { s/\s+//gr } open_calls(without_assignments(without_literals(
			"UPDATE agno.runs r SET a = now() WHERE r.b = 'c' AND r.d"
			  . " OPERATOR(pg_catalog.=) pg_catalog.count(*) OR r.e IN ('f')")))),
	"now( r.b='' IN('')", 'this test finds names that are left open');
is( join(' ', open_casts("x::text, '1 s'::interval, y::pg_catalog.oid[], "
			  . 'CAST(z AS jsonb)')),
	'::text, \'1 s\'::interval, y::pg_c CAST (z AS jsonb)', 'and types');

# What these files have is executed by the runner only, with a search_path of
# pg_catalog.
my $of_runner =
  qr{/store_(?:parked|patrol|queue|ready|results|retention|signals)\.c$};
my @modules;
find({ no_chdir => 1,
		wanted => sub { push @modules, $_ if /\.c$/ && !/$of_runner/ } },
	"$root/src");

my @open;
foreach my $file (sort @modules)
{
	my ($base) = $file =~ m{([^/]+)$};
	push @open, map { "$base: $_" }
	  map { open_casts(without_literals($_)) } strings_of($file);
}
is(some(@open), '', 'no cast in what the backends of users execute leaves the schema of its type open');

my @of_backends = grep { m{/store_(?:runs|tools)\.c$} } @modules;
is(scalar(@of_backends), 2, 'the modules of the store for the backends of users are found');
@open = map { open_calls(without_assignments(without_literals($_))) }
  grep { /^\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|MERGE)\b|OPERATOR\(/ }
  map { strings_of($_) } @of_backends;
is(some(@open), '', 'nor does a function or an operator in what backends of users execute');

foreach my $extension ('agno_bg', 'agno_router')
{
	my ($version) = slurp_file("$root/$extension.control") =~ /^default_version\s*=\s*'([^']+)'/m;
	my $script = slurp_file("$root/sql/$extension--$version.sql");
	$script =~ s/^\\echo.*$//m;

	# A body is text: either it has a search_path of its own, or it is as bad as
	# any other SQL.
	my @bodies;
	$script =~ s{(\$(?:\w*)\$)(.*?)\1}{push @bodies, $2; "BODY$#bodies "}gse;
	$script = without_literals($script);
	$script =~ s{\bBEGIN\s+ATOMIC\b(.*?);\s*END\s*;}{push @bodies, $1; "ATOMIC$#bodies ;"}gse;

	my (@open_types, @open_calls);
	foreach my $statement (split /;/, $script)
	{
		my $sql = $statement;
		my $own_path = $sql =~ /\bSET\s+search_path\s*(?:=|TO)\s*pg_catalog\s*,\s*pg_temp\b/i;
		my @note;

		$sql =~ s/^\s+//;
		if ($sql =~ s/(BODY|ATOMIC)(\d+)//)
		{
			# what is parsed when the function is created has no use for the path
			my $body = without_literals($bodies[$2]);
			if ($1 eq 'ATOMIC' || !$own_path)
			{
				push @open_types, open_casts($body);
				push @open_calls, open_calls(without_assignments($body));
			}
		}

		# The names of what a command is about
		if ($sql =~ /^CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s+[\w.\@]+\s*$parentheses(.*)/s)
		{
			my ($arguments, $rest) = ($1, $2);
			push @open_types, open_columns(substr($arguments, 1, -1));
			push @open_types, "RETURNS $1"
			  if $rest =~ /\bRETURNS\s+(?!TABLE\b)(?:SETOF\s+)?+(?!$type)(\S+)/;
			push @open_types, open_columns(substr($1, 1, -1))
			  if $rest =~ /\bRETURNS\s+TABLE\s*$parentheses/;
		}
		elsif ($sql =~ /^CREATE\s+(?:UNLOGGED\s+)?TABLE\s+[\w.\@]+\s*$parentheses/s
			|| $sql =~ /^CREATE\s+TYPE\s+[\w.\@]+\s+AS\s*$parentheses/s)
		{
			push @open_types, open_columns(substr($1, 1, -1)), open_casts($sql);
			push @open_calls,
			  map { open_calls(s/^\w+\s+//r) }
			  grep { /^(?:CONSTRAINT|CHECK)\b|\bDEFAULT\b|\bCHECK\b/ }
			  parts(substr($1, 1, -1));
		}
		elsif ($sql =~ /^(?:COMMENT\s+ON|REVOKE|GRANT|ALTER|DROP)\b.*?\b(?:FUNCTION|PROCEDURE|ROUTINE)\b/s)
		{
			push @open_types, open_columns(substr($1, 1, -1))
			  while $sql =~ /[\w.\@]+\s*$parentheses/g;
		}
		elsif ($sql =~ /^ALTER\s+TABLE\b/)
		{
			push @open_types, "ADD COLUMN $1"
			  while $sql =~ /\bADD\s+COLUMN\s+(?:IF\s+NOT\s+EXISTS\s+)?(?!\w+\s+$type)([^,]*)/g;
			push @open_types, open_casts($sql);
		}
		elsif ($sql =~ /^CREATE\s+(?:VIEW|POLICY|(?:UNIQUE\s+)?INDEX|TRIGGER)\b|^(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b/)
		{
			push @open_types, open_casts($sql);
			$sql =~ s/^CREATE\s+(?:UNIQUE\s+)?INDEX\s+\w+\s+ON\s+[\w.]+//;
			push @open_calls, open_calls(without_assignments($sql));
		}
	}
	is(some(@open_types), '', "no type in version $version of $extension leaves its schema open");
	is(some(@open_calls), '', 'nor does a function or an operator');
}

#-------------------------------------------------------------------------
# Evil objects
#-------------------------------------------------------------------------

my $node = new_node('main', conf => "agno_bg.max_queue_depth = 10000\n");
my $url = start_mock('mock');
add_mock_server($node, $url);
$node->safe_psql('postgres', q(
	CREATE ROLE a LOGIN;
	CREATE ROLE b LOGIN;
	SELECT agno_grant_usage('a'), agno_grant_usage('b');
	CREATE DATABASE other));
$node->safe_psql('other', 'GRANT CREATE ON DATABASE other TO a');
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO a');

# What every evil object calls, in schemas of a's: "names" has what is found in
# the place of PostgreSQL's own, "casts" has types that are cast to it.
my $evil = q(
	SET search_path = pg_catalog, pg_temp;
	SET check_function_bodies = off;
	CREATE SCHEMA trap;
	GRANT USAGE ON SCHEMA trap TO PUBLIC;
	CREATE FUNCTION trap.spring(what pg_catalog.text) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		IF current_user <> 'a' THEN
			RAISE LOG 'sprung: % with the rights of %', what, current_user;
			RAISE NOTICE 'sprung: % with the rights of %', what, current_user;
			BEGIN
				EXECUTE 'ALTER ROLE a SUPERUSER';
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END IF;
		RETURN true;
	END $$;
	CREATE SCHEMA evil;
	GRANT USAGE ON SCHEMA evil TO PUBLIC;
	CREATE SCHEMA casts;
	GRANT USAGE ON SCHEMA casts TO PUBLIC;

	-- Every function of PostgreSQL that can be imitated.
	DO $$
	DECLARE
		f record;
		arguments text;
	BEGIN
		FOR f IN SELECT p.* FROM pg_proc p
			WHERE p.pronamespace = 'pg_catalog'::regnamespace
			AND p.prokind = 'f' AND p.provariadic = 0
			AND p.proname ~ '^(clock_timestamp|now|statement_timestamp|'
				'generate_series|jsonb_.*|to_jsonb|cardinality|pg_has_role|'
				'octet_length|array_.*|unnest|date_.*|timezone|floor|extract|'
				'to_regrole|quote_ident|format|pg_get_.*|current_setting|'
				'set_config|make_interval|length|upper|lower|min|max|'
				'to_regtype|to_regclass|has_.*_privilege|text|oid|regrole|'
				'regprocedure|pg_extension_config_dump|int[248]|float[48]|'
				'bool|name|timestamptz|interval|numeric|hash.*|'
				'enum.*|substr.*|position|strpos|concat.*|coalesce|nullif)$'
			AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[] ||
					coalesce(p.proallargtypes, '{}') || p.prorettype) t
				WHERE t IN ('internal'::regtype, 'cstring'::regtype,
					'"any"'::regtype, 'trigger'::regtype, 'record'::regtype))
		LOOP
			SELECT string_agg('$' || n, ', ') INTO arguments
			FROM generate_series(1, f.pronargs) n;
			EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE sql '
				'AS %L', f.proname, pg_get_function_arguments(f.oid),
				pg_get_function_result(f.oid),
				format('SELECT trap.spring(%L); SELECT * FROM pg_catalog.%I(%s)',
					'function ' || f.oid::regprocedure, f.proname,
					coalesce(arguments, '')));
		END LOOP;

		-- Every binary operator, and those that would fit better.
		FOR f IN
			SELECT o.oprname, o.oprleft, o.oprright, o.oprresult, o.oid
			FROM pg_operator o
			WHERE o.oprnamespace = 'pg_catalog'::regnamespace
			AND o.oprleft <> 0
			AND o.oprleft <> 'record'::regtype
			AND o.oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*',
				'/', '%', '->', '->>', '||', '~~', '!~~', '@>', '<@', '?', '~', '#>',
				'#>>')
			UNION ALL
			SELECT o, t, t, 'bool'::regtype, 0
			FROM unnest(ARRAY['=', '<>', '<', '>', '<=', '>=']) o,
				unnest(ARRAY['regrole', 'regclass', 'regprocedure']::regtype[]) t
		LOOP
			arguments := format('evil.%I', 'operator_' || f.oprname
				|| f.oprleft || '_' || f.oprright);
			EXECUTE format('CREATE FUNCTION %s(%s, %s) RETURNS %s LANGUAGE sql '
				'AS %L', arguments, f.oprleft::regtype, f.oprright::regtype,
				f.oprresult::regtype,
				format('SELECT trap.spring(%L); '
					'SELECT $1 OPERATOR(pg_catalog.%s) $2',
					'operator ' || f.oprname, f.oprname));
			EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, '
				'RIGHTARG = %s, FUNCTION = %s)', f.oprname,
				f.oprleft::regtype, f.oprright::regtype, arguments);
		END LOOP;
	END $$;
	CREATE FUNCTION evil.jsonb_build_object(text, text) RETURNS jsonb
	LANGUAGE sql AS $$
		SELECT trap.spring('function jsonb_build_object');
		SELECT pg_catalog.jsonb_build_object($1, $2);
	$$;
	CREATE FUNCTION evil.pg_has_role(regrole, text) RETURNS boolean
	LANGUAGE sql AS $$
		SELECT trap.spring('function pg_has_role');
		SELECT pg_catalog.pg_has_role($1::pg_catalog.oid, $2);
	$$;
	CREATE FUNCTION evil.count_step(bigint) RETURNS bigint LANGUAGE sql AS $$
		SELECT trap.spring('aggregate count');
		SELECT pg_catalog.int8inc($1);
	$$;
	CREATE AGGREGATE evil.count(*) (SFUNC = evil.count_step, STYPE = bigint,
		INITCOND = 0);
	CREATE FUNCTION evil.last(anyelement, anyelement) RETURNS anyelement
	LANGUAGE sql AS $$ SELECT trap.spring('aggregate'); SELECT $2; $$;
	CREATE AGGREGATE evil.max(anyelement) (SFUNC = evil.last, STYPE = anyelement);
	CREATE AGGREGATE evil.min(anyelement) (SFUNC = evil.last, STYPE = anyelement);
	CREATE AGGREGATE evil.sum(bigint) (SFUNC = evil.last, STYPE = bigint);
	CREATE AGGREGATE evil.jsonb_agg(jsonb) (SFUNC = evil.last, STYPE = jsonb);
	CREATE AGGREGATE evil.array_agg(jsonb) (SFUNC = evil.last, STYPE = jsonb);
	CREATE FUNCTION evil.fit(json) RETURNS jsonb LANGUAGE sql AS $$
		SELECT trap.spring('function'); SELECT $1::pg_catalog.jsonb; $$;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evil, trap TO PUBLIC;

	-- Types and relations; what is named here is made in pg_temp as well.
	CREATE PROCEDURE trap.make_types(schema text) LANGUAGE plpgsql AS $$
	DECLARE
		t text;
	BEGIN
		FOREACH t IN ARRAY ARRAY['char', 'text', 'jsonb', 'oid', 'regrole',
			'int2', 'int4', 'int8', 'float8', 'timestamptz', 'interval', 'bool', 'name',
			'tid', 'xid', 'regclass', 'regprocedure', 'json', 'bytea', 'numeric', 'varchar',
			'_text', 'date', 'uuid'] LOOP
			EXECUTE format('CREATE DOMAIN %1$s.%2$I AS pg_catalog.%2$I '
				'CHECK (trap.spring(%3$L))', schema, t, 'domain ' || t);
		END LOOP;
		FOREACH t IN ARRAY ARRAY['pg_extension', 'pg_proc', 'pg_depend',
			'pg_database', 'pg_roles', 'pg_prepared_xacts', 'pg_class'] LOOP
			EXECUTE format('CREATE VIEW %1$s.%2$I AS SELECT * '
				'FROM pg_catalog.%2$I WHERE trap.spring(%3$L)', schema, t,
				'view ' || t);
			EXECUTE format('GRANT SELECT ON %1$s.%2$I TO PUBLIC', schema, t);
		END LOOP;
	END $$;
	CALL trap.make_types('evil');

	-- Types that are none of PostgreSQL's, but are cast from and to them.
	DO $$
	DECLARE
		t text;
	BEGIN
		FOREACH t IN ARRAY ARRAY['text', 'jsonb', 'oid', 'regrole', 'int4', 'int8',
			'float8', 'timestamptz', 'interval', 'bool', 'name'] LOOP
			EXECUTE format('CREATE TYPE casts.%1$I AS (v pg_catalog.%1$I)', t);
			EXECUTE format('CREATE FUNCTION casts.come(pg_catalog.%1$I) '
				'RETURNS casts.%1$I LANGUAGE sql '
				'AS ''SELECT trap.spring(''''cast to %1$s''''); '
				'SELECT ROW($1)::casts.%1$I''', t);
			EXECUTE format('CREATE FUNCTION casts.go(casts.%1$I) '
				'RETURNS pg_catalog.%1$I LANGUAGE sql '
				'AS ''SELECT trap.spring(''''cast from %1$s''''); '
				'SELECT $1.v''', t);
			EXECUTE format('CREATE CAST (pg_catalog.%1$I AS casts.%1$I) '
				'WITH FUNCTION casts.come(pg_catalog.%1$I)', t);
			EXECUTE format('CREATE CAST (casts.%1$I AS pg_catalog.%1$I) '
				'WITH FUNCTION casts.go(casts.%1$I) AS IMPLICIT', t);
		END LOOP;
	END $$;
	CREATE TYPE casts."char" AS ENUM ('r', 's', 'w', 'k', 'p', 'x');
	CREATE FUNCTION casts.go(casts."char") RETURNS pg_catalog."char"
	LANGUAGE sql AS $$
		SELECT trap.spring('cast from "char"');
		SELECT $1::pg_catalog.text::pg_catalog."char";
	$$;
	CREATE CAST (casts."char" AS pg_catalog."char")
		WITH FUNCTION casts.go(casts."char") AS IMPLICIT;
);
$evil =~ s/\n\t/\n/g;

# What a role gives psql to do: its output, followed by what went wrong.
sub reply
{
	my ($role, $database, $sql) = @_;
	my ($ret, $out, $err) =
	  $node->psql($database, $sql, extra_params => [ '-U', $role ]);
	$err =~ s/^.*?(?:ERROR|NOTICE):/ERROR:/m;
	return $err =~ /ERROR/ ? "$out\n$err" : $out;
}

is(reply('a', 'postgres', $evil), '', 'a role makes evil objects');

# Everything, with this search_path; the letter makes ids different.
my $letter = 'a';

sub everything
{
	my ($title, $prepare, $path) = @_;
	my $i = $letter++;
	my $sql = qq(
$prepare
SET search_path = $path;
SELECT (public.agno_arun('x', agent_id => NULL, session_id => 's$i',
	run_id => 'all$i', user_id => 'u', model => 'mock:echo',
	output_schema => NULL, session_state => '{"a": 1}', metadata => '{"b": 2}',
	model_options => '{"temperature": 1}', stream => true, priority => 3,
	run_at => pg_catalog.clock_timestamp(), timeout => '1 min', max_attempts => 2,
	idempotency_key => 'k$i')).status;
SELECT (public.agno_arun('x', session_id => 's$i',
	user_id => 'u', model => 'mock:echo', session_state => '{"a": 1}',
	metadata => '{"b": 2}', model_options => '{"temperature": 1}', stream => true,
	priority => 3, timeout => '1 min', max_attempts => 2,
	idempotency_key => 'k$i')).run_id;
INSERT INTO agno.agents (agent_id, name, model, description, instructions,
	timezone_identifier, output_schema, add_history_to_context, session_state,
	model_options, retries, timeout, metadata)
VALUES ('agent$i', 'Agent', 'mock:echo', 'An agent', '{One,Two}', 'Europe/Paris',
	'{"type": "object", "properties": {"n": {"type": "integer"}},
	  "required": ["n"], "additionalProperties": false}', true,
	'{"c": 3}', '{"top_p": 1}', 1, '10 s', '{"d": 4}');
UPDATE agno.agents SET instructions = '{Three}', num_history_runs = 2,
	requires_confirmation = NULL, timezone_identifier = 'Asia/Tokyo'
	WHERE agent_id OPERATOR(pg_catalog.=) 'agent$i';
CALL public.agno_run('x', agent_id => 'agent$i', session_id => 'agent$i',
	session_state => '{"e": 5}', metadata => '{"f": 6}', run_id => 'agent$i',
	model_options => '{"temperature": 0}');
SELECT status, content FROM public.agno_wait_run('all$i', '1 min');
CALL public.agno_run('x', model => 'mock:status-400', run_id => 'bad$i');
SELECT (public.agno_requeue_run('bad$i')).status;
SELECT status FROM public.agno_wait_run('bad$i');
SELECT public.agno_cancel_run('unknown$i');
SELECT (public.agno_arun('x', model => 'mock:echo', run_id => 'unknown$i')).status;
SELECT status FROM public.agno_wait_run('unknown$i');
SELECT (public.agno_arun('x', model => 'mock:echo', run_id => 'later$i',
	run_at => 'infinity')).status;
SELECT public.agno_cancel_run('later$i');
SELECT (public.agno_arun('x', model => 'mock:hang', run_id => 'hang$i')).status;
SELECT status FROM public.agno_wait_run('hang$i', '100 ms');
SELECT public.agno_cancel_run('hang$i');
SELECT status FROM public.agno_wait_run('hang$i');
SELECT status FROM public.agno_get_run_output('later$i', NULL);
SELECT event FROM public.agno_run_events('all$i', 0) LIMIT 1;
SELECT public.agno_run_output_dict('agent$i') OPERATOR(pg_catalog.->>) 'status';
SELECT status FROM agno.agno_runs
	WHERE run_id OPERATOR(pg_catalog.=) 'agent$i';
SELECT agent_id FROM agno.agno_sessions
	WHERE session_id OPERATOR(pg_catalog.=) 'agent$i';
SELECT DISTINCT model FROM agno.stats
	WHERE model OPERATOR(pg_catalog.=) 'hang';
DELETE FROM agno.agents WHERE agent_id OPERATOR(pg_catalog.=) 'agent$i';
DROP EXTENSION agno_bg;
);
	my $expected = qq(
PENDING
all$i
agent$i|COMPLETED|{"n": 7}
COMPLETED|You said: x
bad$i|ERROR|mock error 400
PENDING
ERROR
f
PENDING
CANCELLED
PENDING
t
PENDING
RUNNING
t
CANCELLED
CANCELLED
RunStarted
COMPLETED
COMPLETED
agent$i
hang
ERROR: must be owner of extension agno_bg);
	my $got = reply('a', 'postgres', $sql);

	$got =~ s/^psql.*?ERROR:\s+/ERROR: /m;
	$got =~ s/ERROR:\s+/ERROR: /g;
	$expected =~ s/^\n//;
	is($got, $expected, "everything works $title");
	is( $node->safe_psql('postgres',
			"SELECT count(*) FROM pg_roles WHERE rolname = 'a' AND rolsuper"),
		0, "a is no superuser $title");
	$node->safe_psql('postgres', 'ALTER ROLE a NOSUPERUSER');
}

everything('with evil types in the temporary schema',
	q(CALL trap.make_types('pg_temp');), '"$user", public');
everything('with evil names before those of PostgreSQL', '', 'evil, pg_catalog');
everything('with evil names before temporary ones',
	q(CALL trap.make_types('pg_temp');), 'evil, pg_temp, pg_catalog, public');
everything('with evil names after those of PostgreSQL', '', 'evil, public');
everything('with evil casts', '', 'casts, pg_catalog');

#-------------------------------------------------------------------------
# The search_path of the user
#-------------------------------------------------------------------------

foreach my $path ('evil, pg_catalog', 'public, trap')
{
	my $sql = qq(
\\set ON_ERROR_STOP 0
SET search_path = $path;
SELECT (public.agno_arun('x', model => 'mock:echo',
	run_id => 'path ' OPERATOR(pg_catalog.||) '$path')).status;
SHOW search_path;
SELECT public.agno_arun('x', model => 'mock:echo', run_id => 'alla');
SHOW search_path;
SELECT CURRENT_USER;
DO \$\$ BEGIN
	PERFORM public.agno_arun('x', model => 'mock:echo', run_id => 'alla');
EXCEPTION WHEN unique_violation THEN
	RAISE INFO 'caught, with % and %', CURRENT_USER,
		pg_catalog.current_setting('search_path');
END \$\$;
SHOW search_path;
BEGIN;
SET LOCAL search_path = trap;
SAVEPOINT s;
SELECT public.agno_arun('x', model => 'mock:echo', run_id => 'alla');
ROLLBACK TO s;
SHOW search_path;
SELECT public.agno_cancel_run('no such run');
SHOW search_path;
COMMIT;
SHOW search_path;
SELECT public.agno_requeue_run('no such run');
SHOW search_path;
CALL public.agno_run('x', model => 'mock:echo', session_id => 'alla', run_id => 'alla');
SHOW search_path;
SELECT CURRENT_USER;
);
	my ($ret, $out, $err) = $node->psql('postgres', $sql,
		on_error_stop => 0, extra_params => [ '-U', 'a' ]);
	is($out, "PENDING\n$path\n$path\na\n$path\ntrap\nf\ntrap\n$path\n$path\n$path\na",
		"the search_path $path is the user's again after each call and each error");
	like($err, qr/INFO:  caught, with a and \Q$path\E\n/,
		'and in a block that catches the error');
	is(scalar(() = $err =~ /ERROR:/g), 4, 'there were the errors that were meant');
}

#-------------------------------------------------------------------------
# Who drops the extension, and who creates it
#-------------------------------------------------------------------------

# The evil objects are a's, the extension and the command a superuser's.
is(reply('a', 'other', $evil), '', 'evil objects in another database');
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
foreach my $path ('evil, pg_catalog', 'casts, pg_catalog', 'evil, public')
{
	is( reply($superuser, 'other', qq(
SET search_path = $path;
SET client_min_messages = warning;
CREATE EXTENSION agno_bg SCHEMA public;
DROP EXTENSION agno_bg CASCADE;)),
		'', "a superuser creates and drops the extension with the search_path $path");
}
is( reply($superuser, 'other', 'CREATE EXTENSION agno_bg SCHEMA evil;
SET search_path = evil, pg_catalog;
DROP EXTENSION agno_bg CASCADE;'),
	'', 'and even in the schema of somebody evil');

is(join("\n", slurp_file($node->logfile) =~ /(sprung: .*)/g),
	'', 'no evil object was ever called with the rights of another role');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_roles WHERE rolname = 'a' AND rolsuper"),
	0, 'and a is no superuser');

# A trap that could not be sprung would prove nothing.
my $offset = -s $node->logfile;
reply($superuser, 'other', q(
SET search_path = evil, pg_catalog;
SELECT 'r'::"char", '1'::text = '2', now(), count(*) FROM pg_proc;
SET search_path = casts, pg_catalog;
CREATE TEMP TABLE t (c pg_catalog."char");
INSERT INTO t VALUES ('r'::"char");
));
is( join(', ', sort { $a cmp $b } uniq(
			slurp_file($node->logfile, $offset) =~ /sprung: (\S+ \S+) /g)),
	'aggregate count, cast from, domain char, domain text, function now(), '
	  . 'operator =, view pg_proc',
	'the evil objects do their evil when they are called');

$node->stop;
done_testing();
