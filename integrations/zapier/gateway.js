'use strict';

/**
 * @typedef {import('zapier-platform-core').ZObject} Z
 * @typedef {import('zapier-platform-core').Bundle} Bundle
 */

/**
 * The answer's JSON to one call of the gateway's API, undefined where it has none.
 *
 * `path` begins with `/v1`; the rest is what `z.request` takes. What the gateway refuses is thrown
 * as Zapier's own error, with the sentence of its problem document (RFC 9457).
 *
 * @param {Z} z
 * @param {Bundle} bundle
 * @param {{path: string, method?: string, params?: object, body?: unknown, headers?: object}} call
 */
const ask = async (z, bundle, { path, headers, ...call }) => {
  const { url, key } = bundle.authData;
  const response = await z.request({
    ...call,
    url: url.trim().replace(/\/+$/, '') + path,
    headers: { Accept: 'application/json', ...headers, Authorization: `Bearer ${key.trim()}` },
    redirect: 'error', // the key is meant for that host alone
    skipThrowForStatus: true,
  });
  if (response.status >= 300) {
    const { detail, code } = response.data ?? {};
    const said = detail ?? `it answered ${response.status}`;
    throw new z.errors.Error(`The gateway refused this: ${said}`, code, response.status);
  }
  return response.data;
};

module.exports = { ask };
