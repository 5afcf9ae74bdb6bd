# Limits of model servers: max_concurrency, requests_per_minute and
# tokens_per_minute hold, and runs that wait for them stand in nobody's way. A
# 429 slows its whole server down; one that asks for a long pause puts the run
# back; one that says that the quota is used up is not repeated.
# Waits: for model servers that ask for pauses.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => 'agno_bg.max_concurrent_runs = 50');
my $url = start_mock('mock');
add_mock_server($url);
foreach my $limit (
	"narrow:max_concurrency '3'",
	"slow:requests_per_minute '600'",
	"poor:tokens_per_minute '1080'")
{
	my ($name, $option) = split /:/, $limit;
	$node->safe_psql('postgres',
		"CREATE SERVER $name FOREIGN DATA WRAPPER agno_bg
			OPTIONS (base_url '$url', $option)");
}

# The requests with inputs like this, as logged.
sub requests
{
	my ($like) = @_;
	return grep { $_->{body}{input}[-1]{content} =~ /^$like/ }
	  mock_requests('mock');
}

# Two at a time, since one of three places is for other roles, while others pass; 300 of them are more than may be in flight.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 300) i,
		agno_arun('narrow ' || i, model => 'narrow:slow-10')));
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('other ' || i, model => 'mock:echo')));
ok(completed('other %', 20), 'runs of another server complete');
cmp_ok(value("count(*) FROM agno.runs WHERE input LIKE 'narrow %'
		AND status = 'COMPLETED'"), '<', 250,
	'runs of another server pass those that wait');
is(value("agno_cancel_run(run_id) FROM agno.runs WHERE input = 'narrow 300'"),
	't', 'one that waits can be cancelled');
ok(completed('narrow %', 299),
	'all runs that wait for a narrow server complete');
my ($now, $most) = (0, 0);
my %narrow = map { $_->{number} => 1 } requests('narrow');
foreach my $entry (grep { $narrow{ $_->{number} } } mock_log('mock'))
{
	$now += $entry->{event} eq 'request' ? 1 : -1;
	$most = $now if $now > $most;
}
is($most, 2, 'a narrow server never gets more than two requests at a time');
is(scalar(keys %narrow), 299, 'a narrow server gets each request once');
is(value("string_agg(input, '' ORDER BY started_at) =
		string_agg(input, '' ORDER BY created_at) FROM (SELECT * FROM agno.runs
		WHERE input LIKE 'narrow %' AND started_at IS NOT NULL) r"),
	't', 'runs of a narrow server start in their order');

# Ten a second.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 20) i,
		agno_arun('slow ' || i, model => 'slow:echo')));
ok(completed('slow %', 20),
	'runs of a server with requests_per_minute complete');
my @times = map { $_->{time} } requests('slow');
cmp_ok($times[-1] - $times[0], '>', 1.5,
	'requests_per_minute spreads the requests');

# A request that is repeated has its turn before runs that wait to start.
$node->safe_psql('postgres', q(
	SELECT agno_arun('repeated', model => 'slow:flaky-1-503', run_id => 'repeated');
	SELECT count(*) FROM generate_series(1, 30) i,
		agno_arun('crowd ' || i, model => 'slow:echo')));
is(wait_run('repeated'), 'COMPLETED',
	'a run whose request is repeated completes');
ok(completed('crowd %', 30), 'runs beside a repeated request complete');
cmp_ok(value("count(*) FROM agno.runs WHERE input LIKE 'crowd %' AND finished_at
		> (SELECT finished_at FROM agno.runs WHERE run_id = 'repeated')"),
	'>', 5, 'a repeated request does not wait for all runs beside it');
my @both = sort { $a <=> $b }
  map { $_->{time} } requests('repeated'), requests('crowd');
cmp_ok($both[-1] - $both[0], '>', 2.5,
	'a repeated request counts for requests_per_minute');

# 18 tokens for each run, 18 a second: the first 60 may come at once, and those
# that have been started when their tokens become known.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 500) i,
		agno_arun('poor ' || i, model => 'poor:echo')));
wait_until('tokens to be used up', sub {
	value("count(*) FROM agno.run_queue WHERE state = 'p'") > 0
	  && requests('poor') >= 60;
});
cmp_ok(scalar(requests('poor')), '<', 400, 'tokens_per_minute holds runs back');
$node->safe_psql('postgres',
	"ALTER SERVER poor OPTIONS (SET tokens_per_minute '1000000')");
ok(completed('poor %', 500),
	'runs complete when the limit of tokens is raised');

# A 429 is for all.
enqueue('first', 'after-4000-429');
wait_until('the refusal', sub { requests('first') });
# (Whoever has executed another run has read the refusal.)
$node->safe_psql('postgres', "CALL agno_run('between', model => 'narrow:echo')");
enqueue('second', 'echo');
$node->safe_psql('postgres',
	"SELECT agno_arun('third', model => 'narrow:echo', run_id => 'third')");
is(wait_run('third'), 'COMPLETED',
	'a run of another server completes while one is left alone');
is(run_status('second'), 'PENDING',
	'a server that has answered 429 gets no other run');
wait_run($_) foreach qw(first second);
my ($refused) = requests('first');
my ($second) = requests('second');
cmp_ok($second->{time} - $refused->{time}, '>', 3.9,
	'a server that has answered 429 is left alone as long as it asked');
is(run_status('first'), 'COMPLETED',
	'the run that got the 429 completes after the pause');

# A long pause: the run goes back, and holds nothing.
$node->safe_psql('postgres', qq(
	CREATE SERVER busy FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	SELECT agno_arun('long', model => 'busy:after-200000-429', run_id => 'long')));
ok( $node->poll_query_until(
		'postgres', "SELECT status = 'PENDING' AND attempt = 0
			AND run_at BETWEEN now() + interval '3 min' AND now() + interval '4 min'
			FROM agno.runs WHERE run_id = 'long'"),
	'a run is put back when the server asks for a long pause');
is(value("agno_cancel_run('long')"), 't',
	'a run that was put back can be cancelled');

# The quota is used up.
$node->safe_psql('postgres', qq(
	CREATE SERVER broke FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	SELECT agno_arun('quota', model => 'broke:quota', run_id => 'quota')));
is(wait_run('quota'), 'ERROR', 'a run whose quota is used up ends in ERROR');
is(scalar(requests('quota')), 1,
	'a request whose quota is used up is not repeated');

done_testing();
