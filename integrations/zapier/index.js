'use strict';

const { version: platformVersion } = require('zapier-platform-core');

const authentication = require('./authentication');
const publishEvent = require('./creates/publish_event');
const { version } = require('./package.json');
const eventTypeList = require('./triggers/event_type_list');
const orderEvent = require('./triggers/order_event');

module.exports = {
  version,
  platformVersion,
  authentication,
  triggers: {
    [eventTypeList.key]: eventTypeList,
    [orderEvent.key]: orderEvent,
  },
  creates: {
    [publishEvent.key]: publishEvent,
  },
};
