'use strict';

const { ask } = require('../gateway');
const sample = require('../sample.json');
const { isSigned } = require('../signature');
const eventTypeList = require('./event_type_list');

const EVERYTHING = ['order.*'];
const SAMPLES = 3; // as many as Zapier's editor shows

/**
 * @typedef {import('zapier-platform-core').ZObject} Z
 * @typedef {import('zapier-platform-core').Bundle} Bundle
 */

/** @param {Bundle} bundle */
const typesOf = ({ inputData: { types } }) => (types?.length ? [types].flat() : EVERYTHING);

/**
 * Subscribes the Zap's own URL; what is returned is `bundle.subscribeData` from then on.
 *
 * @param {Z} z
 * @param {Bundle} bundle
 */
const performSubscribe = async (z, bundle) => {
  const { id, secret } = await ask(z, bundle, {
    method: 'POST',
    path: '/v1/subscriptions',
    body: {
      url: bundle.targetUrl,
      types: typesOf(bundle),
      profile: 'zapier',
      flat: true,
      description: 'a Zap',
    },
  });
  return { id, secret };
};

/**
 * Ends the subscription; that it is gone already is no error.
 *
 * @param {Z} z
 * @param {Bundle} bundle
 */
const performUnsubscribe = async (z, bundle) => {
  const { id } = bundle.subscribeData;
  await ask(z, bundle, { method: 'DELETE', path: `/v1/subscriptions/${encodeURIComponent(id)}` });
  return {};
};

/**
 * The event of one delivery, as it was signed.
 *
 * @param {Z} z
 * @param {Bundle} bundle
 */
const perform = async (z, bundle) => {
  const secret = bundle.subscribeData?.secret;
  if (!secret || !isSigned(bundle.rawRequest, secret)) {
    throw new z.errors.Error(
      'This request is not signed with the secret of the subscription. If the secret was changed' +
        ' at the gateway, turn the Zap off and on again: that fetches the new one.',
      'not_signed',
      401,
    );
  }
  return [JSON.parse(bundle.rawRequest.content)];
};

/**
 * The newest events of the chosen types, newest first; examples where there are none yet.
 *
 * @param {Z} z
 * @param {Bundle} bundle
 */
const performList = async (z, bundle) => {
  const found = await Promise.all(
    typesOf(bundle).map((type) =>
      ask(z, bundle, { path: '/v1/samples', params: { type, flat: true, limit: SAMPLES } }),
    ),
  );
  // Types may overlap, as `order.*` and `order.paid` do.
  const once = new Map(found.flat().map((event) => [`${event.source} ${event.id}`, event]));
  const at = ({ recordedtime, time }) => Date.parse(recordedtime ?? time) || 0;
  return [...once.values()].sort((one, other) => at(other) - at(one)).slice(0, SAMPLES);
};

module.exports = {
  key: 'order_event',
  noun: 'Event',
  display: {
    label: 'New Order Event',
    description: 'Triggers when something happens to an order: paid, printed, shipped, refunded.',
  },
  operation: {
    type: 'hook',
    inputFields: [
      {
        key: 'types',
        label: 'Event Types',
        type: 'string',
        list: true,
        required: true,
        default: EVERYTHING[0],
        dynamic: `${eventTypeList.key}.id.name`,
        helpText: 'Which events start the Zap. For those that you publish, enter their type.',
      },
    ],
    performSubscribe,
    performUnsubscribe,
    perform,
    performList,
    sample,
    // Published events bring an `id` that is unique only for its `source`.
    outputFields: [
      { key: 'id', label: 'Event ID', primary: true },
      { key: 'source', label: 'Source', primary: true },
      { key: 'type', label: 'Event Type' },
      { key: 'time', label: 'Happened At', type: 'datetime' },
      { key: 'data__order', label: 'Order' },
      { key: 'data__shop', label: 'Shop' },
      { key: 'data__total__value', label: 'Order Total' },
      { key: 'data__total__currency', label: 'Currency' },
      { key: 'data__change__amount__value', label: 'Amount of This Event' },
      { key: 'data__change__reason', label: 'Reason' },
      { key: 'data__state__fulfilment', label: 'Fulfilment' },
      { key: 'data__state__payment', label: 'Payment' },
    ],
  },
};
