'use strict';

const { createHash } = require('node:crypto');

const { ask } = require('../gateway');

/**
 * Publishes a CloudEvent; the same source and id again is a duplicate, and not sent again.
 *
 * @param {import('zapier-platform-core').ZObject} z
 * @param {import('zapier-platform-core').Bundle} bundle
 * @returns {Promise<{id: string, duplicate: boolean, subscriptions: string[]}>}
 */
const perform = async (z, bundle) => {
  const { type, id, source, subject, time, data } = bundle.inputData;
  const body = JSON.stringify({
    specversion: '1.0',
    id,
    source,
    type,
    ...(subject && { subject }),
    ...(time && { time }),
    datacontenttype: 'application/json',
    data: data ?? {},
  });
  return ask(z, bundle, {
    method: 'POST',
    path: '/v1/events',
    body,
    headers: {
      'Content-Type': 'application/cloudevents+json; charset=utf-8',
      'Idempotency-Key': createHash('sha256').update(body).digest('hex'),
    },
  });
};

module.exports = {
  key: 'publish_event',
  noun: 'Event',
  display: {
    label: 'Publish Event',
    description: 'Publishes an event to everybody who subscribed to its type at the gateway.',
  },
  operation: {
    perform,
    inputFields: [
      {
        key: 'type',
        label: 'Event Type',
        type: 'string',
        required: true,
        placeholder: 'desk.asked',
        helpText: 'A name of your own; `order.` and `gateway.` are taken.',
      },
      {
        key: 'id',
        label: 'Event ID',
        type: 'string',
        required: true,
        helpText:
          'Map what is the same when the Zap runs again for the same thing, such as the id of a' +
          ' ticket: then the event is not sent twice.',
      },
      {
        key: 'source',
        label: 'Source',
        type: 'string',
        required: true,
        default: '/zapier',
        helpText: 'Where it comes from; together with the id it names the event.',
      },
      { key: 'subject', label: 'Subject', type: 'string', helpText: 'What it is about.' },
      { key: 'time', label: 'Happened At', type: 'datetime' },
      { key: 'data', label: 'Data', dict: true, helpText: 'What the event says, each as text.' },
    ],
    sample: {
      id: 'evt_c3057c8836de48116688e93647f75d60807718b7',
      duplicate: false,
      subscriptions: ['desk'],
    },
    outputFields: [
      { key: 'id', label: 'Event ID' },
      { key: 'duplicate', label: 'Was Known Before', type: 'boolean' },
      { key: 'subscriptions[]', label: 'Subscriptions' },
    ],
  },
};
