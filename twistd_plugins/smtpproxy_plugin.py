"""What ``twistd`` shows and starts under the name ``smtpproxy``."""

from twisted.application.service import ServiceMaker

service_maker = ServiceMaker(
    "smtpproxy", "smtpproxy.tap", "SMTP proxy with STARTTLS and implicit-TLS inspection", "smtpproxy"
)
