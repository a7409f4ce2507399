'use strict';

const { ask } = require('./gateway');

/**
 * Whose key this is. Another site may answer anything with 200, so its shape is looked at.
 *
 * @param {import('zapier-platform-core').ZObject} z
 * @param {import('zapier-platform-core').Bundle} bundle
 * @returns {Promise<{key: string, role: string, name: string, version: string}>}
 */
const test = async (z, bundle) => {
  const me = await ask(z, bundle, { path: '/v1/me' });
  if (typeof me?.role !== 'string') {
    throw new z.errors.Error(
      'No gateway answers at this URL: give its public address, without a path.',
      'not_a_gateway',
    );
  }
  return me;
};

module.exports = {
  type: 'custom',
  test,
  connectionLabel: '{{name}}',
  fields: [
    {
      key: 'url',
      label: 'Gateway URL',
      type: 'string',
      required: true,
      placeholder: 'https://hooks.example.com',
      helpText: 'The public address of your gateway: `server.public_url` of its configuration.',
    },
    {
      key: 'key',
      label: 'Key',
      type: 'password',
      required: true,
      helpText:
        'What `gateway keys create --role subscriber` made. To publish events, connect once more' +
        ' with a key of the role `publisher`.',
    },
  ],
};
