"""EC2 instances, their interfaces and their root volumes."""

from __future__ import annotations

import copy
from typing import Any

from lab.ec2 import backend  # noqa: F401  (moto's settings come first)


def security_groups_of_the_primary_interface() -> None:
    """Groups given on the primary interface show on the instance, and groups changed on either side show on both.

    Stock: an instance has only groups given directly. The AWS provider gives them on the interface whenever it says
    anything about a public address, and changes them through ModifyNetworkInterfaceAttribute. Without this every
    preview wants to change the groups again, and a change of groups is never seen by the lab's firewall.
    """
    from moto.ec2.models.elastic_network_interfaces import NetworkInterface
    from moto.ec2.models.instances import Instance

    def primary(self: Any) -> Any:
        return self.__dict__.get("nics", {}).get(0)

    def get(self: Any) -> list[Any]:
        interface = primary(self)
        return list(interface._group_set if interface is not None else self.__dict__.get("_groups_at_launch", []))

    def put(self: Any, groups: list[Any]) -> None:
        interface = primary(self)
        if interface is not None:
            interface._group_set = list(groups)
        self.__dict__["_groups_at_launch"] = list(groups)

    Instance.security_groups = property(get, put)  # type: ignore[assignment]
    NetworkInterface.group_set = property(lambda self: self._group_set)  # type: ignore[assignment]


def primary_interface_ends_with_the_instance() -> None:
    """The interface made for an instance, its private address and its Elastic IP are free once it is terminated.

    Stock: the interface stays unless the request said DeleteOnTermination, which is the default on EC2. Without this an
    instance cannot be replaced by one with the same private address ("IP already in use"), and destroy leaves
    interfaces behind. An Elastic IP stayed associated with the dead instance.
    """
    from moto.ec2.models.instances import Instance

    stock_prep_nics, stock_terminate = Instance.prep_nics, Instance.terminate

    def prep_nics(self: Any, nic_spec: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        given = {nic.get("NetworkInterfaceId") for nic in nic_spec}
        to_keep = {int(nic["DeviceIndex"]) for nic in nic_spec if nic.get("DeleteOnTermination") is False}
        stock_prep_nics(self, nic_spec, *args, **kwargs)
        for index, interface in self.nics.items():
            if interface.id not in given and index not in to_keep:
                interface.delete_on_termination = True

    def terminate(self: Any) -> Any:
        if self._state.name == "terminated":
            return copy.copy(self._state)
        for address in self.ec2_backend.addresses:
            if address.eni is not None and address.eni in self.nics.values():
                address.instance = None
                if address.eni.delete_on_termination:
                    address.eni = address.association_id = None
        previous = stock_terminate(self)
        for interface in self.nics.values():
            if interface.delete_on_termination:
                interface.public_ip = None
        return previous

    Instance.prep_nics = prep_nics  # type: ignore[method-assign]
    Instance.terminate = terminate  # type: ignore[method-assign]


def metadata_options_change_one_at_a_time() -> None:
    """ModifyInstanceMetadataOptions changes the options it names and leaves the others.

    Stock: options not named become null. Without this, requiring tokens on a running instance loses its hop limit, and
    the metadata service of the lab no longer knows whether to answer at all.
    """
    from moto.ec2.models.instances import InstanceBackend, MetadataOptions

    names = {
        "http_tokens": "HttpTokens",
        "hop_limit": "HttpPutResponseHopLimit",
        "http_endpoint": "HttpEndpoint",
        "http_protocol": "HttpProtocolIpv6",
        "metadata_tags": "InstanceMetadataTags",
    }
    attributes = {
        "HttpTokens": "http_tokens",
        "HttpPutResponseHopLimit": "http_put_response_hop_limit",
        "HttpEndpoint": "http_endpoint",
        "HttpProtocolIpv6": "http_protocol_ipv6",
        "InstanceMetadataTags": "instance_metadata_tags",
    }

    def modify(self: Any, instance_id: str, dry_run: bool = False, **changes: Any) -> Any:
        instance = self.get_instance(instance_id)
        options = {name: getattr(instance.metadata_options, attribute) for name, attribute in attributes.items()}
        options |= {names[key]: value for key, value in changes.items() if value is not None}
        instance.metadata_options = MetadataOptions(options)
        return instance.metadata_options

    InstanceBackend.modify_instance_metadata_options = modify  # type: ignore[method-assign,assignment]


def root_volume_under_the_name_the_image_says() -> None:
    """An instance launched without block devices gets its root volume at the image's root device.

    Stock: always /dev/sda1. Debian's images say /dev/xvda, so the provider finds no root volume and every preview with
    a root volume in the program wants to replace the instance.
    """
    from moto.ec2.models.instances import Instance

    def setup_defaults(self: Any) -> None:
        volume = self.ec2_backend.create_volume(size=8, zone_name=self._placement.zone)
        self.ec2_backend.attach_volume(volume.id, self.id, self.root_device_name, True)

    Instance.setup_defaults = setup_defaults  # type: ignore[method-assign]


def root_volume_as_asked_for() -> None:
    """RunInstances keeps the throughput and IOPS of block devices.

    Stock: dropped. Without this a volume with either shows a change at every preview.
    """
    from moto.ec2.models.instances import InstanceBackend
    from moto.ec2.responses.instances import InstanceResponse

    stock_parse, stock_run = InstanceResponse._parse_block_device_mapping, InstanceBackend.run_instances

    def parse(self: Any) -> list[dict[str, Any]]:
        mappings = stock_parse(self)
        for mapping, asked in zip(mappings, self._get_param("BlockDeviceMappings", []), strict=True):
            mapping["Ebs"]["Throughput"] = asked.get("Ebs", {}).get("Throughput")
        return mappings

    def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
        reservation = stock_run(self, *args, **kwargs)
        for mapping in kwargs.get("block_device_mappings") or []:
            for instance in reservation.instances:
                device = instance.block_device_mapping.get(mapping["DeviceName"])
                if device is not None:
                    volume = self.get_volume(device.volume_id)
                    volume.iops = mapping["Ebs"].get("Iops")
                    volume.throughput = mapping["Ebs"].get("Throughput")
        return reservation

    InstanceResponse._parse_block_device_mapping = parse  # type: ignore[method-assign]
    InstanceBackend.run_instances = run_instances  # type: ignore[method-assign]


def detailed_monitoring() -> None:
    """MonitorInstances and UnmonitorInstances exist.

    Stock: NotImplementedError. Without this, switching detailed monitoring on for a running instance fails.
    """
    from moto.core.responses import ActionResult
    from moto.ec2.responses import EC2Response

    def switch(state: str) -> Any:
        def answer(self: Any) -> ActionResult:
            instances = self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", []))
            for instance in instances:
                instance.monitoring_state = state
            return ActionResult(
                {"InstanceMonitorings": [{"InstanceId": i.id, "Monitoring": {"State": state}} for i in instances]}
            )

        return answer

    EC2Response.monitor_instances = switch("enabled")  # type: ignore[method-assign]
    EC2Response.unmonitor_instances = switch("disabled")  # type: ignore[method-assign]


def replaced_instance_profile_shows_on_the_instance() -> None:
    """An instance says the instance profile that it has, also after ReplaceIamInstanceProfileAssociation.

    Stock: it goes on saying the one before, and the association's id as the profile's. Without this an update that
    changes the profile of a running instance waits five minutes and fails, and a host's role stays the old one.
    """
    from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociationBackend as Associations

    stock_associate, stock_replace = (
        Associations.associate_iam_instance_profile,
        Associations.replace_iam_instance_profile_association,
    )

    def show(association: Any) -> Any:
        profile = association.iam_instance_profile
        association.instance.iam_instance_profile = {"Arn": profile.arn, "Id": profile.id}
        return association

    def associate(self: Any, *args: Any, **kwargs: Any) -> Any:
        return show(stock_associate(self, *args, **kwargs))

    def replace(self: Any, *args: Any, **kwargs: Any) -> Any:
        return show(stock_replace(self, *args, **kwargs))

    Associations.associate_iam_instance_profile = associate  # type: ignore[method-assign]
    Associations.replace_iam_instance_profile_association = replace  # type: ignore[method-assign]


def maintenance_options() -> None:
    """RunInstances keeps its MaintenanceOptions, DescribeInstances shows them, and they can be changed.

    Stock: neither. Without this every preview wants to set the automatic recovery of every instance again.
    """
    from moto.core.responses import ActionResult
    from moto.ec2.models.instances import Instance
    from moto.ec2.responses import EC2Response
    from moto.ec2.responses.instances import InstanceResponse

    stock_run = InstanceResponse.run_instances

    def run_instances(self: Any) -> Any:
        answer = stock_run(self)
        for instance in answer.result.instances:  # type: ignore[attr-defined]
            instance.maintenance_options = {
                "AutoRecovery": self._get_param("MaintenanceOptions.AutoRecovery", "default")
            }
        return answer

    def modify(self: Any) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        instance.maintenance_options = {"AutoRecovery": self._get_param("AutoRecovery", "default")}
        return ActionResult({"InstanceId": instance.id, **instance.maintenance_options})

    Instance.maintenance_options = {"AutoRecovery": "default"}  # type: ignore[attr-defined]
    InstanceResponse.run_instances = run_instances  # type: ignore[method-assign]
    EC2Response.modify_instance_maintenance_options = modify  # type: ignore[attr-defined]


PATCHES = (
    replaced_instance_profile_shows_on_the_instance,
    security_groups_of_the_primary_interface,
    primary_interface_ends_with_the_instance,
    metadata_options_change_one_at_a_time,
    root_volume_under_the_name_the_image_says,
    root_volume_as_asked_for,
    detailed_monitoring,
    maintenance_options,
)
