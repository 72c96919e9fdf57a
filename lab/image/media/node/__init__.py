"""The stand-in for one Ant Media Server node: the answers that clients, load balancers and operators rely on.

nginx in front (conf/nginx.conf) takes HTTP on 5080 and RTMP on 1935 and cuts RTMP into HLS; this program starts it and
answers what is not a file: health, the administration's login, the application's REST, HLS playlists, WebSocket
signalling. It carries no WebRTC media. Runs on the node as `python3 -m node`, with nothing but Debian's Python,
python3-websockets and, in a cluster only, python3-pymongo.

Answers follow Ant Media Server 2.x, whose Community edition answers the same tests (tests/lab/test_media_image.py):
io.antmedia.console.rest.RestServiceV2 and io.antmedia.rest.BroadcastRestService for HTTP, Tomcat's RemoteIpValve for
who a request comes from, io.antmedia.websocket.WebSocketCommunityHandler for signalling.

A cluster needs the Enterprise edition, which nobody here has seen. What is taken from the server's public packages:
the calls and answers of io.antmedia.console.rest.ClusterRestServiceV2; fields, period and age of
io.antmedia.cluster.ClusterNode; names of databases and collections; that io.antmedia.AntMediaApplicationAdapter keeps
a stream's node as originAdress, and that a node asks that one for what it lacks. The rest is the stand-in's own, and
tests/lab/test_media_cluster.py says of each test which it is.
"""
