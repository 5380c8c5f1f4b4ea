//! The hypervisor: KVM, guest memory, boot, virtio devices.
