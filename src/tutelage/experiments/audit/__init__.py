"""Audit: an estimate, without training, of faulty rows and of whether selection pays."""

from tutelage.experiments.audit.config import AuditSettings
from tutelage.experiments.audit.run import audit, audit_data, audit_settings, default_out

__all__ = ["AuditSettings", "audit", "audit_data", "audit_settings", "default_out"]
