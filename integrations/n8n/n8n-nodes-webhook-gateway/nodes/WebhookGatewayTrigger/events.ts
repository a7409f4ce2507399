import type { IDataObject } from 'n8n-workflow';

import type { Headers } from './signature';

/**
 * The CloudEvents in a delivery, in whichever mode it came: `structured`, `json`, `binary`, `batch`.
 *
 * Formats: CloudEvents 1.0.2, HTTP protocol binding and JSON event format; `json` is the structured
 * envelope under `application/json`. `undefined` when it is no CloudEvent.
 */
export function eventsOf(body: Buffer, headers: Headers): IDataObject[] | undefined {
	const type = mediaType(headers['content-type']);
	if (!type.startsWith('application/cloudevents') && 'ce-specversion' in headers) {
		const event = binaryEvent(body, headers, type);
		return isEvent(event) ? [event] : undefined;
	}
	const parsed = parse(body);
	const found: unknown[] = Array.isArray(parsed) ? parsed : [parsed];
	return found.length > 0 && found.every(isEvent) ? found : undefined;
}

function binaryEvent(body: Buffer, headers: Headers, type: string): IDataObject {
	const event: IDataObject = {};
	for (const [name, value] of Object.entries(headers)) {
		if (name.startsWith('ce-')) event[name.slice('ce-'.length)] = decode(String(value));
	}
	if (headers['content-type'] !== undefined) event.datacontenttype = headers['content-type'];
	if (body.length === 0) return event;
	if (isJson(type)) return { ...event, data: parse(body) as IDataObject };
	if (type.startsWith('text/')) return { ...event, data: body.toString('utf8') };
	return { ...event, data_base64: body.toString('base64') };
}

function isEvent(value: unknown): value is IDataObject {
	if (typeof value !== 'object' || value === null) return false;
	const event = value as IDataObject;
	return ['specversion', 'id', 'source', 'type'].every((name) => typeof event[name] === 'string');
}

function mediaType(contentType: Headers[string]): string {
	return String(contentType ?? '').split(';')[0].trim().toLowerCase();
}

function isJson(type: string): boolean {
	return type === 'application/json' || type.endsWith('+json');
}

function parse(body: Buffer): unknown {
	try {
		return JSON.parse(body.toString('utf8'));
	} catch {
		return undefined;
	}
}

/** The HTTP binding writes what is not printable ASCII percent-encoded. */
function decode(value: string): string {
	try {
		return decodeURIComponent(value);
	} catch {
		return value;
	}
}
