# `make image` puts what is copied here into the build context: a static berth for Linux, the CA roots of the machine that
# builds, and an empty directory data. Nothing is fetched.
FROM scratch

COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY berth /berth
# Volumes made at /data take over this owner.
COPY --chown=65532:65532 data /data

USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 5000

# The first start makes a user, and its log says how to set the password.
ENV BERTH_DATA=/data BERTH_HTTP_ADDR=0.0.0.0:5000

HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["/berth", "healthcheck"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["/berth"]
CMD ["serve"]
