'use strict';

const { ask } = require('../gateway');

const PATTERNS = [{ id: 'order.*', name: 'order.*: Everything that happens to an order.' }];

/**
 * What there is to choose from, patterns first.
 *
 * @param {import('zapier-platform-core').ZObject} z
 * @param {import('zapier-platform-core').Bundle} bundle
 */
const perform = async (z, bundle) => {
  const types = await ask(z, bundle, { path: '/v1/event-types' });
  return [
    ...PATTERNS,
    ...types.map(({ type, description }) => ({ id: type, name: `${type}: ${description}` })),
  ];
};

module.exports = {
  key: 'event_type_list',
  noun: 'Event Type',
  display: {
    label: 'List of Event Types',
    description: 'Fills the list of event types to choose from.',
    hidden: true,
  },
  operation: {
    perform,
    sample: PATTERNS[0],
  },
};
