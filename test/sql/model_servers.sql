-- The options of model servers and of their user mappings
CREATE SERVER s FOREIGN DATA WRAPPER agno_bg;
CREATE SERVER t FOREIGN DATA WRAPPER agno_bg OPTIONS (
	api 'openai-responses', base_url 'https://example.com/v1',
	timeout '90s', connect_timeout '500', retries '0', ca_file '/etc/ca.pem');
ALTER SERVER t OPTIONS (SET timeout '2 min', DROP ca_file);

-- Names
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (url 'https://x');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (api_key 'k');
ALTER FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (base_url 'https://x');

-- Values
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'soap');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'example.com');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'ftp://x');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'https://');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'https://:80');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg
	OPTIONS (base_url 'https://me:secret@x');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg
	OPTIONS (base_url 'https://x/v1?a=b');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg
	OPTIONS (base_url E'https://x\r\nHost: y');
-- what libcurl would refuse when a run is executed
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://[::1');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://x:99999');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://x:y');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://x:0');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://%00/');
-- but not this
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://[::1]:8080/v1');
DROP SERVER x;
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (timeout 'soon');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (timeout '0');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (timeout '5 parsecs');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (connect_timeout '-1');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (retries '-1');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (retries 'many');
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg OPTIONS (ca_file 'ca.pem');

-- Keys
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (api_key '');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (api_key E'k\r\nX-Evil: 1');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (api_key_file 'key');
CREATE USER MAPPING FOR PUBLIC SERVER s
	OPTIONS (api_key 'k', api_key_env 'KEY');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (organization E'a\nb');
CREATE USER MAPPING FOR PUBLIC SERVER s
	OPTIONS (api_key 'k', organization 'o', project 'p');
ALTER USER MAPPING FOR PUBLIC SERVER s
	OPTIONS (DROP api_key, ADD api_key_env 'KEY');

-- Who may set what
CREATE ROLE regress_agno_user;
GRANT USAGE ON FOREIGN SERVER s TO regress_agno_user;
SET ROLE regress_agno_user;
CREATE SERVER x FOREIGN DATA WRAPPER agno_bg;	-- needs USAGE on the wrapper
CREATE USER MAPPING FOR regress_agno_user SERVER s
	OPTIONS (api_key_env 'KEY');
CREATE USER MAPPING FOR regress_agno_user SERVER s
	OPTIONS (api_key_file '/etc/passwd');
CREATE USER MAPPING FOR regress_agno_user SERVER s OPTIONS (api_key 'k');
RESET ROLE;

-- A server without a handler has no tables to query.
CREATE FOREIGN TABLE nothing (a integer) SERVER s;
SELECT * FROM nothing;
DROP SERVER s CASCADE;
DROP SERVER t;
DROP ROLE regress_agno_user;
