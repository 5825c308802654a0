-- The push-gateway: a receipt finds the targets of its own devices, and a page of a timeline begins where the last one
-- ended, however many targets the notification has.

DROP INDEX push_targets_notification;
CREATE INDEX push_targets_notification ON push_targets (notification_id, id);
CREATE INDEX push_targets_recipient ON push_targets (notification_id, device_id) WHERE device_id IS NOT NULL;
