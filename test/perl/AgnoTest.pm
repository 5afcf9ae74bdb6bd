# What the TAP tests share: a server with the extension, and a mock model
# server to talk to.

package AgnoTest;

use strict;
use warnings;

use Exporter 'import';
use Fcntl ':flock';
use FindBin;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP ();
use List::Util qw(max);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(new_node new_database make_user configure start_mock stop_mock
  agno_packages install_agno install_python
  install_npm skipped libcurl_major start_program start_nginx start_npm add_mock_server mock_log mock_requests mock_count
  wait_for_request wait_for_answer open_gate close_gate make_certificate
  build_fault refuse_updates slow_runs slow_leaving keep_busy start_server start_flood value as outcome outcome_as enqueue call_tools expect_run
  completed wait_until wait_run run_status runner_pid replace_runner
  launcher_pid cpu_of busy longest_call longest_until_ended calls_until calls_until_ended calls_take switches_of status_of logged is_up
  wait_through_crashes crash_by_killing put_dead_rows);

# Helpers that need a node take it as their first argument; without one, they
# mean the node that new_node has made last, which most tests have only one of.
my $last_node;
my %mocks;
my @servers;

# Take the node off the arguments of a helper, or the last one if there is none.
sub node_of
{
	my ($arguments) = @_;
	return UNIVERSAL::isa($arguments->[0], 'PostgreSQL::Test::Cluster')
	  ? shift @$arguments
	  : $last_node;
}

# A running server with the library preloaded and, unless told otherwise, the
# extension in the database postgres. What tests send may hold keys, so
# statements are not logged. With fault => 'name', the library of
# faults/name.c is loaded before others.
sub new_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	local $ENV{LD_PRELOAD} = build_fault($params{fault}) if $params{fault};
	$node->init(extra => [ '-E', 'UTF8', '--no-locale' ],
		%{ $params{init} // {} });
	$node->append_conf(
		'postgresql.conf', qq(
shared_preload_libraries = 'agno_bg'
log_statement = none
log_line_prefix = '%m [%p] %b '
max_prepared_transactions = 5
fsync = on
restart_after_crash = on
));
	$node->append_conf('postgresql.conf', $params{conf}) if $params{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION agno_bg')
	  unless $params{no_extension};
	return $last_node = $node;
}

# Create a database with the extension and, if a URL is given, with the model
# server "mock" at that URL.
sub new_database
{
	my $node = node_of(\@_);
	my ($name, $url) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION agno_bg');
	add_mock_server($node, $url, database => $name) if $url;
}

# Create roles that may log in and may enqueue runs.
sub make_user
{
	my $node = node_of(\@_);

	$node->safe_psql('postgres',
		"CREATE ROLE $_ LOGIN; SELECT agno_grant_usage('$_')")
	  foreach @_;
}

# Change settings of agno_bg, named without that prefix, and reload.
sub configure
{
	my $node = node_of(\@_);
	my %settings = @_;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET agno_bg.$_ = '$settings{$_}'")
	  foreach sort keys %settings;
	$node->reload;
}

# Build the library of faults/name.c. Returns its path.
sub build_fault
{
	my ($name) = @_;
	my $library = "$PostgreSQL::Test::Utils::tmp_check/$name.so";
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';

	chomp(my $headers = `$pg_config --includedir-server`);
	system_or_bail('cc', '-shared', '-fPIC', "-I$headers", '-o', $library,
		"$FindBin::Bin/../faults/$name.c", '-ldl');
	return $library;
}

# Let a trigger refuse updates of agno.runs that make this condition on NEW true,
# with this message. It is named refuse, as is its function.
sub refuse_updates
{
	my $node = node_of(\@_);
	my ($condition, $message) = @_;

	$node->safe_psql(
		'postgres', qq(
		CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
		AS \$\$
		BEGIN
			IF $condition THEN
				RAISE EXCEPTION '$message';
			END IF;
			RETURN NEW;
		END \$\$;
		CREATE TRIGGER refuse BEFORE UPDATE ON agno.runs
			FOR EACH ROW EXECUTE FUNCTION refuse()));
}

# From now on it takes so many seconds more to store a run with this status of a role
# whose name is like this, by a trigger that is named slow, as is its function.
sub slow_runs
{
	my $node = node_of(\@_);
	my ($role, $status, $seconds) = @_;

	$node->safe_psql(
		'postgres', qq(
		CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
		AS \$\$ BEGIN PERFORM pg_sleep($seconds); RETURN NEW; END \$\$;
		CREATE OR REPLACE TRIGGER slow BEFORE UPDATE ON agno.runs FOR EACH ROW
			WHEN (pg_get_userbyid(NEW.owner::oid) LIKE '$role'
				AND NEW.status = '$status' AND OLD.status <> '$status')
			EXECUTE FUNCTION slow();
		ALTER TABLE agno.runs ENABLE ALWAYS TRIGGER slow));
}

# From now on it takes so many seconds more for a run of this role to leave the queue,
# by a trigger that is named slow, as is its function, and then does this.
sub slow_leaving
{
	my $node = node_of(\@_);
	my ($role, $seconds, $then) = (@_, 'RETURN OLD');

	$node->safe_psql(
		'postgres', qq(
		CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
		AS \$\$ BEGIN PERFORM pg_sleep($seconds); $then; END \$\$;
		CREATE OR REPLACE TRIGGER slow BEFORE DELETE ON agno.run_queue FOR EACH ROW
			WHEN (pg_get_userbyid(OLD.owner::oid) = '$role')
			EXECUTE FUNCTION slow();
		ALTER TABLE agno.run_queue ENABLE ALWAYS TRIGGER slow));
}

# Have a role call CALL agno_run with this input all the time, in a process that is
# returned, with these options of pgbench; it has begun to.
sub keep_busy
{
	my $node = node_of(\@_);
	my ($role, $input, @options) = @_;
	my $script = "$PostgreSQL::Test::Utils::tmp_check/$input.sql";
	my ($out, $err);

	append_to_file($script, "CALL agno_run('$input', model => E'mock\\x3aecho');");
	push @servers,
	  IPC::Run::start(
		[
			'pgbench', '-n', '-T', 600, @options, '-f', $script, '-h',
			$node->host, '-p', $node->port, '-U', $role, 'postgres'
		],
		'>', \$out, '2>', \$err);
	wait_until("$role is busy",
		sub { value("count(*) FROM agno.runs WHERE input = '$input'") > 20 });
	return $servers[-1];
}

# Start a server of mock/, with these options: it speaks TLS with some. Returns its base
# URL.
sub start_server
{
	my ($name, $script, @options) = @_;
	my $port_file = "$PostgreSQL::Test::Utils::tmp_check/$name.port";

	start_program('python3', "$FindBin::Bin/../mock/$script", $port_file, @options);
	wait_until("the server $name", sub { -s $port_file });
	return (@options ? 'https' : 'http')
	  . '://127.0.0.1:' . (slurp_file($port_file) =~ s/\s//gr) . '/v1';
}

sub start_flood
{
	my ($name, @options) = @_;

	return start_server($name, 'flooding_server.py', @options);
}

# Start a mock model server. Returns its base URL.
sub start_mock
{
	my ($name, @arguments) = @_;
	my $base = "$PostgreSQL::Test::Utils::tmp_check/$name";
	my $scheme = (grep { $_ eq '--tls-cert' } @arguments) ? 'https' : 'http';

	unlink "$base.port";
	my $mock = IPC::Run::start(
		[
			'python3', "$FindBin::Bin/../mock/model_server.py",
			'--port-file', "$base.port", '--log', "$base.log", @arguments
		],
		'<', '/dev/null',
		'>', "$base.out",
		'2>&1');
	$mocks{$name} = { process => $mock, log => "$base.log" };
	wait_until("mock $name", sub { -s "$base.port" });
	my $port = slurp_file("$base.port");
	chomp $port;
	$mocks{$name}->{port} = $port;
	return "$scheme://127.0.0.1:$port/v1";
}

sub stop_mock
{
	my ($name) = @_;
	my $mock = delete $mocks{$name} or return;
	$mock->{process}->kill_kill;
	return $mock->{port};
}

# Install Python packages, pinned or not, into interop/venv-$name; returns its Python, or
# undef when they cannot be had. Tests that run side by side wait for each other.
sub install_python
{
	my ($name, @requirements) = @_;
	my $folder = "$FindBin::Bin/../interop/venv-$name";
	my $list = join ' ', map { "'$_'" } @requirements;

	open my $lock, '>', "$folder.lock" or die "$folder.lock: $!";
	flock $lock, LOCK_EX or die "$folder.lock: $!";
	return "$folder/bin/python" if -e "$folder/complete";
	system("python3 -m venv $folder "
		  . "&& $folder/bin/pip install --quiet --disable-pip-version-check "
		  . "--no-cache-dir --no-compile --retries 1 --timeout 20 $list "
		  . ">$PostgreSQL::Test::Utils::tmp_check/pip-$name.log 2>&1 "
		  . "&& touch $folder/complete") == 0
	  or return undef;
	return "$folder/bin/python";
}

# A line of Agno, likewise.
sub install_agno
{
	my ($line, $requirement) = @_;
	return install_python($line, $requirement, 'sqlalchemy', 'greenlet',
		'psycopg[binary]', 'openai', 'anthropic');
}

# Say aloud that something has not been tested, and why. Returns the reason, for skip.
sub skipped
{
	my ($why) = @_;
	print STDERR "SKIPPED: $why\n";
	return $why;
}

# The first part of the version of libcurl that agno_bg is built with: what it makes of
# servers that lie has changed.
sub libcurl_major
{
	my ($major) = `curl-config --version` =~ /^libcurl (\d+)/;
	return $major;
}

# Python with Agno's own package, by the lines 2 and 3. The test is skipped if it cannot
# be installed.
sub agno_packages
{
	my %python = (2 => install_agno(2, 'agno<3'), 3 => install_agno(3, 'agno>=3'));

	return %python unless grep { !defined } values %python;
	skipped("agno_bg was NOT tested with Agno's own package, which could not be installed");
	plan skip_all => "Agno's own package could not be installed";
}

# Start nginx with this server block, which listens at PORT. Returns the port, or
# nothing if there is no nginx. Its log is access.log in the test's folder: for
# each request the number of the connection, the protocol and the status.
sub start_nginx
{
	my ($block) = @_;
	my ($nginx) = grep { -x } qw(/usr/sbin/nginx /usr/bin/nginx);
	my $dir = $PostgreSQL::Test::Utils::tmp_check;
	my $port;

	return unless $nginx;
	$port = PostgreSQL::Test::Cluster::get_free_port();
	$block =~ s/PORT/$port/g;
	append_to_file(
		"$dir/nginx.conf", qq(
daemon off;
pid $dir/nginx.pid;
error_log $dir/nginx.err;
events { worker_connections 2048; }
http {
	log_format connections '\$connection \$server_protocol \$status';
	access_log $dir/access.log connections;
	client_body_temp_path $dir/body;
	proxy_temp_path $dir/proxy;
	fastcgi_temp_path $dir/fastcgi;
	uwsgi_temp_path $dir/uwsgi;
	scgi_temp_path $dir/scgi;
	keepalive_requests 1000000;
	server { $block }
}
));
	push @servers,
	  IPC::Run::start([ $nginx, '-c', "$dir/nginx.conf" ],
		'<', '/dev/null', '>', "$dir/nginx.out", '2>&1');
	wait_until('nginx', sub { -s "$dir/nginx.pid" });
	return $port;
}

# Start a program that goes on until the test ends; what it says is in program.out in the
# test's folder.
sub start_program
{
	my (@command) = @_;
	push @servers,
	  IPC::Run::start(\@command, '<', '/dev/null', '>>',
		"$PostgreSQL::Test::Utils::tmp_check/program.out", '2>&1');
	return $servers[-1];
}

# Install the npm packages that test/interop/$package pins. Returns the folder that has
# node_modules, or nothing when they cannot be had here.
sub install_npm
{
	my ($package) = @_;
	my $dir = "$PostgreSQL::Test::Utils::tmp_check/$package";
	my $interop = "$FindBin::Bin/../interop/$package";

	if (!-d $dir)
	{
		mkdir $dir;
		system("cp $interop/package*.json $dir && cd $dir && "
			  . "npm ci --no-fund --no-audit --cache $dir/cache "
			  . ">npm.log 2>&1") == 0
		  or return;
	}
	return $dir;
}

# Start a server of one of them, and wait until it listens at the port. Returns its
# process, or nothing when it cannot be had here.
sub start_npm
{
	my ($package, $port, @command) = @_;
	my $dir = install_npm($package) or return;

	$command[0] = "$dir/node_modules/.bin/$command[0]";
	start_program(@command);
	wait_until($command[0], sub {
		IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") });
	return $servers[-1];
}

# Make what is at a URL the model server "mock" of a database, or one of another name, for
# everybody.
sub add_mock_server
{
	my $node = node_of(\@_);
	my ($url, %params) = @_;
	my $database = $params{database} // 'postgres';
	my $name = $params{name} // 'mock';
	my $options = $params{options} // '';

	$node->safe_psql(
		$database, qq(
		CREATE SERVER $name FOREIGN DATA WRAPPER agno_bg
			OPTIONS (api 'openai-responses', base_url '$url' $options);
		CREATE USER MAPPING FOR PUBLIC SERVER $name
			OPTIONS (api_key 'sk-mock');
		GRANT USAGE ON FOREIGN SERVER $name TO PUBLIC));
}

# What the mock has logged so far, as a list of hashes.
sub mock_log
{
	my ($name) = @_;
	return () unless -e $mocks{$name}->{log};
	return map { JSON::PP::decode_json($_) }
	  grep { /\}$/ } split /\n/, slurp_file($mocks{$name}->{log});
}

# The requests with this input, or all.
sub mock_requests
{
	my ($name, $input) = @_;
	return grep {
		$_->{event} eq 'request'
		  && $_->{method} eq 'POST'
		  && (!defined $input || ($_->{body}{input}[-1]{content} // '') eq $input)
	} mock_log($name);
}

# How many requests with this input there have been, without reading them all.
sub mock_count
{
	my ($name, $input) = @_;
	return 0 unless -e $mocks{$name}->{log};
	return scalar(
		() = slurp_file($mocks{$name}->{log}) =~
		  /"event": "request".*"content": "\Q$input\E"/g);
}

# Wait until the mock has got a request with this input.
sub wait_for_request
{
	my ($input, $name) = @_;
	return wait_until("a request with the input $input",
		sub { mock_requests($name // 'mock', $input) });
}

# Wait until the mock has answered all requests with this input that it has got.
sub wait_for_answer
{
	my ($input, $name) = @_;

	wait_until(
		"the answer to $input",
		sub {
			my %answered = map { $_->{number} => 1 }
			  grep { $_->{event} eq 'answered' } mock_log($name // 'mock');
			my @requests = mock_requests($name // 'mock', $input);
			return @requests && !grep { !$answered{ $_->{number} } } @requests;
		});
}

# Let the mock answer the runs of the model "gate", until close_gate.
sub open_gate
{
	append_to_file("$PostgreSQL::Test::Utils::tmp_check/mock.log.gate", '');
}

sub close_gate
{
	unlink "$PostgreSQL::Test::Utils::tmp_check/mock.log.gate";
}

# Make a certificate for 127.0.0.1 that certifies itself: cert.pem and key.pem in
# the test's folder.
sub make_certificate
{
	my $dir = $PostgreSQL::Test::Utils::tmp_check;
	my @command = (
		'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days',
		'2', '-keyout', "$dir/key.pem", '-out', "$dir/cert.pem", '-subj',
		'/CN=mock', '-addext', 'subjectAltName=IP:127.0.0.1');

	system("@command 2>$dir/openssl.log") == 0 or die 'openssl failed';
}

# Wait for a condition; give up after three minutes.
sub wait_until
{
	my ($what, $condition) = @_;
	my $give_up = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($condition->())
	{
		die "timed out waiting for $what" if time > $give_up;
		usleep(20_000);
	}
	return 1;
}

# What SELECT gives for this expression, which may go on with FROM.
sub value
{
	my $node = node_of(\@_);
	my ($expression, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SELECT $expression");
}

# What a statement of this role gives. It must succeed.
sub as
{
	my $node = node_of(\@_);
	my ($role, $sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# What a statement gives: its rows, or the SQLSTATE of its error.
sub outcome
{
	my $node = node_of(\@_);
	my ($sql, @params) = @_;
	my ($ret, $out, $err) =
	  $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", @params);

	return $ret == 0 ? $out : $err =~ /ERROR:  (\w{5})/ ? $1 : $err;
}

# The same for a statement of this role.
sub outcome_as
{
	my $node = node_of(\@_);
	my ($role, $sql) = @_;
	return outcome($node, $sql, extra_params => [ '-U', $role ]);
}

# Enqueue a run by its id and its model, of the server "mock" unless it names
# another, with named arguments of agno_arun. Its input is its id, unless one is
# given. Values are quoted; a reference to a string is an SQL expression. With
# role => 'name' the call is of that role, with database => 'name' in that
# database. Returns the status.
sub enqueue
{
	my $node = node_of(\@_);
	my ($run_id, $model, %arguments) = @_;
	my $role = delete $arguments{role};
	my $database = delete $arguments{database} // 'postgres';

	$arguments{input} //= $run_id;
	$arguments{run_id} = $run_id;
	$arguments{model} = $model =~ /:/ ? $model : "mock:$model";
	my $list = join ', ',
	  map { "$_ => " . literal($arguments{$_}) } sort keys %arguments;
	return $node->safe_psql(
		$database,
		"SELECT status FROM agno_arun($list)",
		extra_params => $role ? [ '-U', $role ] : []);
}

# Enqueue a run of an agent whose model, "tools" of the mock, calls tools: calls is a
# list of answers, each a list of [name, arguments], where arguments may be text.
# What else the script has is in script => {...}; other named arguments are those
# of agno_arun, role and database as for enqueue; set_role is for SET ROLE.
sub call_tools
{
	my $node = node_of(\@_);
	my ($run_id, $agent, $calls, %arguments) = @_;
	my $role = delete $arguments{role};
	my $database = delete $arguments{database} // 'postgres';
	my %script = %{ delete $arguments{script} // {} };
	my $set_role = delete $arguments{set_role};

	$script{id} = $run_id;
	$script{calls} = [ map {
		[ map { { name => $_->[0], arguments => $_->[1] // '' } } @$_ ]
	} @$calls ];
	$arguments{input} = JSON::PP->new->canonical->encode(\%script);
	$arguments{run_id} = $run_id;
	$arguments{agent_id} = $agent;
	my $list = join ', ',
	  map { "$_ => " . literal($arguments{$_}) } sort keys %arguments;
	return $node->safe_psql(
		$database,
		($set_role ? "SET ROLE $set_role; " : '') . "SELECT status FROM agno_arun($list)",
		extra_params => $role ? [ '-U', $role ] : []);
}

# A value as an SQL literal, or the SQL that it refers to.
sub literal
{
	my ($value) = @_;
	return $$value if ref $value;
	return 'NULL' if !defined $value;
	return "'" . $value =~ s/'/''/gr . "'";
}

# Test that a run is as expected: a hash of values by columns of agno.runs, or by
# expressions over them, as text; undef is NULL, and a value may be a pattern.
# If the status is expected to be one that ends a run, waits for the end. When it
# fails, it shows the columns that differ, and those only. With
# database => 'name', the run is of that database.
sub expect_run
{
	my $node = node_of(\@_);
	my ($run_id, $expected, $name, %params) = @_;
	my $database = $params{database} // 'postgres';
	my @columns = sort keys %$expected;
	my $list = join ', ', map { literal($_) . ", ($_)::text" } @columns;
	my @differences;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	if (($expected->{status} // '') =~ /^(COMPLETED|CANCELLED|ERROR)$/
		&& wait_run($node, $run_id, $database) eq 'PAUSED')
	{
		# What brings it out of that may still be on its way.
		$node->poll_query_until($database,
			"SELECT status <> 'PAUSED' FROM agno.runs WHERE run_id = "
			  . literal($run_id));
		wait_run($node, $run_id, $database);
	}
	my $row = $node->safe_psql($database,
		"SELECT json_build_object($list) FROM agno.runs WHERE run_id = "
		  . literal($run_id));
	if ($row eq '')
	{
		fail($name);
		return diag("there is no run $run_id");
	}
	my $actual = JSON::PP->new->decode($row);
	foreach my $column (@columns)
	{
		my ($got, $want) = ($actual->{$column}, $expected->{$column});

		next
		  if defined $got && defined $want
		  ? ref $want ? $got =~ $want : $got eq $want
		  : !defined $got && !defined $want;
		push @differences,
		  sprintf("%s of run %s is %s, expected: %s", $column, $run_id,
			map { $_ // 'NULL' } $got, $want);
	}
	return ok(!@differences, $name) || diag(join "\n", @differences);
}

# Wait until so many runs with inputs like this are COMPLETED. Returns whether
# they are.
sub completed
{
	my $node = node_of(\@_);
	my ($like, $count) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM agno.runs
			WHERE input LIKE '$like' AND status = 'COMPLETED'");
}

sub run_status
{
	my $node = node_of(\@_);
	my ($run_id, $database) = @_;
	return value($node, "status FROM agno_get_run_output('$run_id')",
		$database);
}

# Wait until a run has ended. Returns its status.
sub wait_run
{
	my $node = node_of(\@_);
	my ($run_id, $database) = @_;
	my $timeout = $PostgreSQL::Test::Utils::timeout_default;

	return value($node,
		"status FROM agno_wait_run('$run_id', '$timeout s')", $database);
}

# Wait until this query says true, on a server that crashes meanwhile. (The query
# is no input of psql: to write to a psql that has given up already would be the
# end of a test.)
sub wait_through_crashes
{
	my ($node, $query) = @_;
	my ($out, $err);

	return wait_until("$query", sub {
		IPC::Run::run(
			[
				'psql', '-XAtq', '-h', $node->host, '-p', $node->port,
				'-c', $query, 'postgres'
			],
			'<', '/dev/null', '>', \$out, '2>', \$err);
		return $out eq "t\n";
	});
}

# Kill a process of the server, and wait until the postmaster has noticed that, and
# started over.
sub crash_by_killing
{
	my $node = node_of(\@_);
	my ($pid) = @_;
	my $before = -s $node->logfile;

	kill 'KILL', $pid;
	wait_until('the crash', sub { slurp_file($node->logfile, $before) =~ /all server processes terminated/ });
	wait_through_crashes($node, 'SELECT true');
}

# Whether the server accepts connections. (To write to a psql that has given up
# already would be the end of a test.)
sub is_up
{
	my $node = node_of(\@_);
	return IPC::Run::run(
		[ 'pg_isready', '-q', '-h', $node->host, '-p', $node->port ]);
}

# The process of the runner of a database; waits until there is one.
sub runner_pid
{
	my $node = node_of(\@_);
	my $database = shift // 'postgres';
	my $query = "SELECT pid FROM pg_stat_activity "
	  . "WHERE backend_type = 'agno_bg runner' AND datname = '$database'";
	my $pid;

	wait_until("the runner of $database",
		sub { $pid = $node->safe_psql('template1', $query) });
	return $pid;
}

sub launcher_pid
{
	my $node = node_of(\@_);
	return value($node, 'pid FROM pg_stat_activity '
		  . "WHERE backend_type = 'agno_bg launcher'");
}

# Terminate the runner. Returns whether another one has taken over.
sub replace_runner
{
	my $node = node_of(\@_);
	my $pid = runner_pid($node);

	value($node, "pg_terminate_backend($pid)");
	return $node->poll_query_until('postgres',
		"SELECT pid <> $pid AND state = 'running' FROM agno.workers
			WHERE database = 'postgres'");
}

# The seconds of CPU that a process has had.
sub cpu_of
{
	my ($pid) = @_;
	my @fields = split ' ', slurp_file("/proc/$pid/stat") =~ s/.*\)//sr;
	return ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# What part of a processor a process takes in the next seconds, while something
# else is done.
sub busy
{
	my ($pid, $seconds, $meanwhile) = @_;
	my ($start, $cpu) = (time, cpu_of($pid));

	$meanwhile->() if $meanwhile;
	usleep(20_000) while time - $start < $seconds;
	return (cpu_of($pid) - $cpu) / (time - $start);
}

# How long a role waits for so many calls of agno_run, one after the other.
sub calls_take
{
	my ($role, $calls) = @_;
	my $start = time;

	as($role, q(CALL agno_run('x', model => 'mock:echo'))) foreach 1 .. $calls;
	return time - $start;
}

# How long each run of this role takes, one after the other, in seconds, until something
# else is done; for five minutes at most.
sub calls_until
{
	my ($role, $done) = @_;
	my $give_up = time + 300;
	my @took;

	do
	{
		push @took, calls_take($role, 1);
	} until $done->() || time > $give_up;
	return @took;
}

# The longest of them.
sub longest_call
{
	return max(calls_until(@_));
}

# The same until these runs, of which a pattern tells the ids, have ended.
sub calls_until_ended
{
	my ($role, $runs) = @_;
	my @took = calls_until($role, sub { value("bool_and(finished_at IS NOT NULL) FROM agno.runs WHERE run_id ~ '^$runs\$'") eq 't' });

	note(sprintf('%s: another role called %d times, and waited for %.3f s at most', $runs, scalar @took, max(@took)));
	return @took;
}

sub longest_until_ended
{
	return max(calls_until_ended(@_));
}

# Put so many rows of greedy1 and greedy2 into a table, with these values of i, and delete them:
# nobody looks while they are not committed, nor at any that are there for all to see.
sub put_dead_rows
{
	my $node = node_of(\@_);
	my ($count, $table, $columns, $values) = @_;

	$node->safe_psql('postgres', qq(
		BEGIN;
		INSERT INTO agno.$table (run_id, owner, shard, $columns)
			SELECT 'r-' || i, CASE i % 2 WHEN 0 THEN 'greedy1'::regrole ELSE 'greedy2'::regrole END, 0, $values FROM generate_series(1, $count) i;
		DELETE FROM agno.$table WHERE run_id ~ '^r-';
		COMMIT));
	return;
}

# A number that /proc/PID/status tells of a process, by its name there.
sub status_of
{
	my ($pid, $name) = @_;
	return slurp_file("/proc/$pid/status") =~ /^$name:\s+(\d+)/m
	  ? $1
	  : die "no $name of process $pid";
}

# How often a process has given up the processor of its own will.
sub switches_of
{
	my ($pid) = @_;
	return status_of($pid, 'voluntary_ctxt_switches');
}

# How often this pattern is in the log of the server.
sub logged
{
	my $node = node_of(\@_);
	my ($pattern) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

END
{
	my $status = $?;
	stop_mock($_) foreach keys %mocks;
	$_->kill_kill foreach @servers;
	$? = $status;
}

1;
