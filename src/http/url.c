/*-------------------------------------------------------------------------
 *
 * url.c
 *	  What URLs requests can be sent to.
 *
 * Pure but for libcurl, which reads a URL here as it does for a request. Raises no
 * errors, looks up no names, and needs no HttpClient: any process may ask.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <curl/curl.h>

#include "http/url.h"

/*
 * Whether libcurl takes this URL, which has no user name. Port 0 is none.
 */
bool
url_is_valid(const char *url)
{
	CURLU	   *handle = curl_url();
	char	   *port = NULL;
	bool		valid = handle != NULL &&
		curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
		curl_url_get(handle, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		atoi(port) > 0;

	curl_free(port);
	curl_url_cleanup(handle);
	return valid;
}
