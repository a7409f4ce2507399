'use strict';

const { createHmac, timingSafeEqual } = require('node:crypto');

const HEADERS = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];

/**
 * Whether a request is signed with this secret, as Standard Webhooks has it: HMAC-SHA256 of
 * `id.timestamp.content`, any of the header's `v1,` signatures.
 *
 * The age is not looked at. Zapier may hand on a request minutes after it took it, and an honest
 * one must not be lost then; an old one that somebody sends again has an `id` that was seen.
 *
 * @param {{headers: Record<string, string>, content: string}} request `bundle.rawRequest`
 * @param {string} secret `whsec_` and the base64 of the key
 */
const isSigned = ({ headers, content }, secret) => {
  const [id, timestamp, signatures] = HEADERS.map((name) => valueOf(headers, name));
  if (!id || !timestamp || !signatures) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.${content}`).digest();
  return signatures.split(' ').some((one) => {
    const [version, text = ''] = one.split(',', 2);
    const given = Buffer.from(text, 'base64');
    return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
  });
};

/** The value of a header that Zapier hands on as `Http-Webhook-Id`. */
const valueOf = (headers, name) => {
  const found = Object.keys(headers).find((key) => key.toLowerCase().replace(/^http-/, '') === name);
  return found && headers[found];
};

module.exports = { isSigned };
